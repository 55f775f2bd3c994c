"""What the animals in the rendered arena do: simulates midlines over time from a seed (NumPy only).

A director lets the animals roam (pause, walk, turn on the spot); from time to time one of them chases or touches
another.  Lengths are in image sides, times in seconds, positions complex numbers, as in
:mod:`lightning_kp.arena.motion`.
"""

import math
from cmath import phase, rect
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lightning_kp.arena.body import BODY, HEAD, NECK, RADII, SNOUT, TAIL_BASE, WALL, ArenaSettings, Floats
from lightning_kp.arena.motion import NUZZLE, TRUNK_NODES, Act, Animal, clip, keep_apart, unit

BODY_TARGETS = (SNOUT, BODY, BODY + 1, TAIL_BASE)  # nodes at which one animal may touch another


class Director:
    """Decides what each animal does, and advances all of them together.

    The scene is "roam", "chase" or "approach"; in the last two, ``actor`` pursues ``partner``.
    """

    def __init__(self, settings: ArenaSettings) -> None:
        self.rng = np.random.default_rng((settings.seed, 1))
        self.clock = 0.0
        self.scene, self.scene_seconds = "roam", self.rng.uniform(1, 3)
        self.next_scene = str(self.rng.choice(("chase", "approach")))
        self.actor, self.partner, self.target = 0, 0, BODY_TARGETS[0]
        self.animals: list[Animal] = []
        starts = [0.3 + 0.3j, 0.7 + 0.7j, 0.7 + 0.3j, 0.3 + 0.7j]
        for start in starts[: settings.animals]:
            heading = phase(0.5 + 0.5j - start) + self.rng.uniform(-0.4, 0.4)
            self.animals.append(Animal(start, heading, self.rng))

    def step(self, dt: float) -> None:
        """Advance the arena by ``dt`` seconds."""
        self.clock += dt
        self.scene_seconds -= dt
        if self.scene_seconds <= 0 and len(self.animals) > 1:
            self._change_scene()
        commands = [self._command(i, dt) for i in range(len(self.animals))]
        for animal, (speed, turn_rate) in zip(self.animals, commands, strict=True):
            animal.drive(speed, turn_rate, self.clock, dt)
        keep_apart(self.animals, dt)

    def chasing(self, index: int) -> bool:
        """Whether this animal is chasing another one."""
        return self.scene == "chase" and index == self.actor

    def _change_scene(self) -> None:
        if self.scene != "roam":
            self.scene, self.scene_seconds = "roam", self.rng.uniform(4, 7)
            for index in (self.actor, self.partner):  # they separate
                self.animals[index].act = self._flight(index, self._other(index), 0.35)
            return
        self.scene, self.next_scene = self.next_scene, "approach" if self.next_scene == "chase" else "chase"
        self.scene_seconds = self.rng.uniform(2.5, 4.5)
        self.actor, self.partner = self.rng.choice(len(self.animals), 2, replace=False).tolist()
        self.target = int(self.rng.choice(BODY_TARGETS))

    def _other(self, index: int) -> int:
        return self.partner if index == self.actor else self.actor

    def _command(self, index: int, dt: float) -> tuple[float, float]:
        """Target speed and rate of turn of one animal, which is advanced to its next act if need be."""
        animal = self.animals[index]
        if self.scene != "roam" and index == self.actor:
            return self._pursue(index)
        if self.scene == "approach" and index == self.partner:
            return 0.0, 0.0
        if self.scene == "chase" and index == self.partner and not self._fleeing(animal):
            animal.act = self._flight(index, self.actor, self.rng.uniform(0.48, 0.6))
        animal.act.seconds -= dt
        if animal.act.seconds <= 0 or self._arrived(animal):
            animal.act = self._next_act(index)
        if animal.act.name == "spin":
            animal.act.angle -= abs(animal.turn_rate) * dt
            if animal.act.angle <= 0:
                animal.act = Act("pause", self.rng.uniform(0.4, 1.2))
            return self._braked(index, abs(animal.act.speed)), math.copysign(3.2, animal.act.speed)
        if animal.act.goal is None:
            return 0.0, 0.0
        speed, turn_rate = _steer(animal, animal.act.goal, animal.act.speed)
        return self._braked(index, speed), turn_rate + self._evasion(index)

    def _pursue(self, index: int) -> tuple[float, float]:
        node, speed = (TAIL_BASE, 0.66) if self.scene == "chase" else (self.target, 0.34)
        speed, turn_rate = _steer(self.animals[index], self.animals[self.partner].nodes[node], speed)
        return self._braked(index, speed), turn_rate

    def _fleeing(self, animal: Animal) -> bool:
        return animal.act.name == "flee" and animal.act.seconds > 0 and not self._arrived(animal)

    @staticmethod
    def _arrived(animal: Animal) -> bool:
        return animal.act.goal is not None and abs(animal.act.goal - animal.nodes[SNOUT]) < 0.06

    def _next_act(self, index: int) -> Act:
        animal, kind = self.animals[index], self.rng.random()
        for other, neighbour in enumerate(self.animals):
            if other != index and abs(neighbour.nodes[BODY] - animal.nodes[BODY]) < 0.25:
                return self._flight(index, other, self.rng.uniform(0.25, 0.4))
        if animal.act.name != "pause" and kind < 0.4:
            return Act("pause", self.rng.uniform(0.5, 1.6))
        neck = animal.nodes[NECK]
        if kind > 0.72 and all(0.24 < part < 0.76 for part in (neck.real, neck.imag)):
            angle = 2 * math.pi * self.rng.choice((0.5, 1.0, 1.15))
            return Act("spin", 6.0, math.copysign(0.13, self.rng.random() - 0.5), angle=angle)
        return Act("walk", 4.0, self.rng.uniform(0.22, 0.42), goal=self._waypoint())

    def _flight(self, index: int, other: int, speed: float) -> Act:
        """An act of running away: of eight waypoints, to the one farthest from the other animal and not behind it."""
        here, danger = self.animals[index].nodes[NECK], self.animals[other].nodes[NECK]

        def safety(goal: complex) -> float:
            return abs(goal - danger) + 0.25 * math.cos(phase(unit(goal - here) / unit(here - danger)))

        return Act("flee", 2.0, speed, goal=max((self._waypoint() for _ in range(8)), key=safety))

    def _waypoint(self) -> complex:
        return complex(*self.rng.uniform(0.13, 0.87, 2))

    def _braked(self, index: int, speed: float) -> float:
        """Reduce the speed in front of a wall or another animal, by the distance straight ahead of the snout."""
        animal = self.animals[index]
        forward = unit(animal.nodes[SNOUT] - animal.nodes[NECK])
        clearance = _wall_ahead(animal.nodes[SNOUT], forward) - RADII[SNOUT]
        for node, radius in self._others(index):
            ahead = (node - animal.nodes[SNOUT]) / forward
            if ahead.real > 0 and abs(ahead.imag) < radius + 0.02:
                clearance = min(clearance, abs(ahead) - radius - RADII[SNOUT])
        return min(speed, max(0.0, (clearance + NUZZLE) / 0.2))

    def _evasion(self, index: int) -> float:
        """Rate of turn away from animals that are close and ahead."""
        animal, turn = self.animals[index], 0.0
        forward = rect(1, animal.heading)
        for node, radius in self._others(index):
            ahead = (node - animal.nodes[HEAD]) / forward
            gap = abs(ahead) - radius - RADII[HEAD]
            if ahead.real > 0 and gap < 0.08:
                turn -= math.copysign((0.08 - gap) / 0.08, ahead.imag)
        return 2.5 * clip(turn, 1)

    def _others(self, index: int) -> list[tuple[complex, float]]:
        """Positions and radii of the trunk nodes of all other animals."""
        return [
            (animal.nodes[node], RADII[node])
            for other, animal in enumerate(self.animals)
            if other != index
            for node in TRUNK_NODES
        ]


def simulate_motion(settings: ArenaSettings) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Simulate the animals of a video.

    Returns midlines (T, I, N, 2) in image sides, whether each animal is chasing another one (T, I), and layers (T, I):
    the animal with the larger number is drawn on top.
    """
    director = Director(settings)
    steps = max(1, math.ceil(50 / settings.fps))
    dt = 1 / settings.fps / steps
    for _ in range(math.ceil(1.5 / dt)):  # until the initial straight poses have become natural
        director.step(dt)
    layer = np.arange(settings.animals)
    midlines, chases, layers = [], [], []
    for _ in range(settings.frames):
        for _ in range(steps):
            director.step(dt)
        nodes = np.array([animal.nodes for animal in director.animals])
        if all_clear(nodes):  # only then can the order of drawing change without a visible jump
            layer = np.arange(settings.animals)
            layer[director.actor] = settings.animals  # the animal that approaches the other one is on top
        midlines.append(np.stack((nodes.real, nodes.imag), axis=-1))
        chases.append([director.chasing(i) for i in range(settings.animals)])
        layers.append(layer)
    return np.array(midlines), np.array(chases), np.array(layers)


def all_clear(nodes: NDArray[np.complex128]) -> bool:
    """Whether no part of an animal, including tails, overlaps another animal; ``nodes`` (I, N) as complex numbers."""
    reach = np.add.outer(RADII, RADII) + 0.015
    return all((np.abs(one[:, None] - two[None, :]) > reach).all() for one, two in combinations(nodes, 2))


def _steer(animal: Animal, goal: complex, speed: float) -> tuple[float, float]:
    """Speed and rate of turn towards a goal; the farther to the side it lies, the slower."""
    error = phase((goal - animal.nodes[NECK]) / rect(1, animal.heading))
    return speed * max(0.2, math.cos(error)), 4.0 * error


def _wall_ahead(point: complex, direction: complex) -> float:
    """Distance from ``point`` to the wall along the unit vector ``direction``."""
    reach = [
        ((1 - WALL if step > 0 else WALL) - at) / step
        for at, step in ((point.real, direction.real), (point.imag, direction.imag))
        if abs(step) > 1e-6
    ]
    return max(0.0, min(reach))
