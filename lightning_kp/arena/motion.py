"""Kinematics of one animal in the rendered arena, and how animals are kept from overlapping.

The neck leads an animal: it has a speed and a rate of turn, both of which change with limited acceleration.  The head
turns ahead of the body; trunk and tail are pulled behind like a chain whose joints bend up to a limit.  Lengths are in
image sides, times in seconds, angles in rad; positions are complex numbers x + i y, with y pointing down.
"""

import math
from cmath import phase, rect
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lightning_kp.arena.body import (
    BODY,
    HEAD,
    LINKS,
    NECK,
    NODES,
    RADII,
    SNOUT,
    TAIL_BASE,
    TAIL_TIP,
    TRUNK,
    WALL,
)

MAX_TURN = 3.8  # rad/s, about 9 degrees per frame at 25 frames per second
ACCELERATION = 1.8  # image sides per second squared
TURN_ACCELERATION = 22.0  # rad per second squared
TRUNK_BEND, TAIL_BEND = 0.5, 0.6  # largest angle of a joint, rad
STRAIGHTEN = 0.35  # share of a bend that straightens per second
PRESS = 0.006  # depth to which fur is compressed when two animals touch, image sides ...
NUZZLE = 0.008  # ... and depth to which a snout goes into it
MAX_PUSH = 0.5  # largest speed at which an animal is pushed aside, image sides per second
TRUNK_NODES = range(TRUNK.start, TRUNK.stop)


@dataclass
class Act:
    """What an animal is doing for the next ``seconds``: moving to ``goal`` at ``speed``, or turning by ``angle`` rad.

    ``name`` is "pause", "walk", "spin" or "flee"; of a spin, the sign of ``speed`` is the direction.
    """

    name: str
    seconds: float
    speed: float = 0.0
    goal: complex | None = None
    angle: float = 0.0


class Animal:
    """Body and controls of one animal; ``nodes`` (N,) are its midline from snout to tail tip."""

    def __init__(self, neck: complex, heading: float, rng: np.random.Generator) -> None:
        self.heading, self.speed, self.turn_rate, self.yaw = heading, 0.0, 0.0, 0.0
        self.phases = rng.uniform(0, 2 * math.pi, 4).tolist()
        self.act = Act("pause", rng.uniform(0.2, 1.0))
        self.nodes = [neck] * NODES
        for node in range(NECK + 1, NODES):
            self.nodes[node] = self.nodes[node - 1] - rect(LINKS[node - 1], heading)
        self._place_head(0.0, 0.0)

    def drive(self, speed: float, turn_rate: float, clock: float, dt: float) -> None:
        """Advance by ``dt`` seconds, accelerating towards a target speed and rate of turn."""
        self.speed += clip(speed - self.speed, ACCELERATION * dt)
        self.turn_rate += clip(clip(turn_rate, MAX_TURN) - self.turn_rate, TURN_ACCELERATION * dt)
        self.heading += self.turn_rate * dt
        self.nodes[NECK] += rect(self.speed * dt, self.heading)
        self._place_head(clock, dt)
        relaxed = 1 - STRAIGHTEN * dt
        direction = self._drag(NECK + 1, TAIL_BASE, rect(1, self.heading), TRUNK_BEND, relaxed)
        self._drag_tail(direction, clock)

    def shift(self, displacement: complex) -> None:
        """Displace the whole animal."""
        self.nodes = [node + displacement for node in self.nodes]

    def _place_head(self, clock: float, dt: float) -> None:
        """Turn the head ahead of the body; the slower the animal, the more the head also scans from side to side."""
        scan = 0.28 * math.sin(2.7 * clock + self.phases[0]) + 0.14 * math.sin(6.4 * clock + self.phases[1])
        wanted = clip(0.2 * self.turn_rate + scan * (1 - self.speed), 0.7)
        self.yaw += (wanted - self.yaw) * min(1.0, 8 * dt)
        self.nodes[HEAD] = self.nodes[NECK] + rect(LINKS[1], self.heading + self.yaw / 2)
        self.nodes[SNOUT] = self.nodes[HEAD] + rect(LINKS[0], self.heading + self.yaw)

    def _drag(self, first: int, last: int, direction: complex, bend: float, relaxed: float = 1.0) -> complex:
        """Pull the nodes ``first`` to ``last`` behind the node before them.  Returns the direction of the last link."""
        for node in range(first, last + 1):
            leader = self.nodes[node - 1]
            angle = phase((leader - self.nodes[node]) / direction)
            direction *= rect(1, clip(relaxed * angle, bend))
            self.nodes[node] = leader - LINKS[node - 1] * direction
        return direction

    def _drag_tail(self, direction: complex, clock: float) -> None:
        """Pull the tail, which sways a little, straightens slowly, and bends along walls."""
        for node in range(TAIL_BASE + 1, TAIL_TIP + 1):
            self._drag(node, node, direction, TAIL_BEND)
            sway = 0.02 * math.sin(3.1 * clock - 0.9 * node + self.phases[2]) * (0.4 + self.speed)
            bend = phase((self.nodes[node - 1] - self.nodes[node]) / direction)
            direction *= rect(1, 0.985 * bend + sway)
            inside = _into_arena(self.nodes[node - 1] - LINKS[node - 1] * direction, RADII[node])
            direction = unit(self.nodes[node - 1] - inside)
            self.nodes[node] = self.nodes[node - 1] - LINKS[node - 1] * direction


def keep_apart(animals: list[Animal], dt: float) -> None:
    """Push animals out of each other, by at most MAX_PUSH per pass of three passes, and out of the walls."""
    limit = MAX_PUSH * dt
    for _ in range(3):
        for one, two in combinations(animals, 2):
            push = _overlap(one, two)
            if push:
                one.shift(-_shorten(push / 2, limit))
                two.shift(_shorten(push / 2, limit))
        for animal in animals:
            outside = [_into_arena(animal.nodes[k], RADII[k]) - animal.nodes[k] for k in TRUNK_NODES]
            x = max((o.real for o in outside), key=abs)
            y = max((o.imag for o in outside), key=abs)
            if x or y:
                animal.shift(complex(x, y))


def _overlap(one: Animal, two: Animal) -> complex:
    """Vector that moves ``two`` out of ``one`` where they overlap most; 0 if they do not overlap."""
    deepest, push = 0.0, 0j
    if abs(one.nodes[BODY] - two.nodes[BODY]) > 0.5:
        return push
    for i in TRUNK_NODES:
        for j in TRUNK_NODES:
            between = two.nodes[j] - one.nodes[i]
            give = NUZZLE if SNOUT in (i, j) else PRESS
            depth = RADII[i] + RADII[j] - give - abs(between)
            if depth > deepest:
                deepest, push = depth, depth * unit(between)
    return push


def _into_arena(point: complex, radius: float) -> complex:
    """The position nearest to ``point`` at which a disc of ``radius`` does not touch a wall."""
    low, high = WALL + radius, 1 - WALL - radius
    return complex(min(max(point.real, low), high), min(max(point.imag, low), high))


def clip(value: float, limit: float) -> float:
    """Clip a value to [-limit, limit]."""
    return max(-limit, min(limit, value))


def _shorten(vector: complex, limit: float) -> complex:
    """Shorten a vector to a length of at most ``limit``."""
    return vector if abs(vector) <= limit else limit * unit(vector)


def unit(vector: complex) -> complex:
    """Unit vector in the direction of ``vector``; 1 for a vector of length 0."""
    length = abs(vector)
    return vector / length if length > 1e-9 else 1 + 0j
