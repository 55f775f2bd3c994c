"""The person parser as a method: decoding, stopping, flipping, learning, its curriculum and its metrics."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from sixteen_bits import agrees_in_sixteen_bits
from torch import Tensor, nn, tensor
from torch.utils.data import DataLoader

from lightning_kp.batches import CrowdImages
from lightning_kp.callbacks import Curriculum
from lightning_kp.errors import ConfigurationError
from lightning_kp.losses.person_parsing import discs
from lightning_kp.methods import PersonParser
from lightning_kp.methods.person_parser import PersonParserWeights
from lightning_kp.nn.person_parser import Decoding
from lightning_kp.readout.people import match_order
from lightning_kp.runs.instance_schedule import Convergence, InstanceSchedule, RunningLoss

NAMES = ["nose", "left_ear", "right_ear"]
SMALL: dict[str, Any] = {
    "names": NAMES, "mirror": [0, 2, 1], "instances": 3, "encoder": "tiny", "pretrained": False, "width": 8,
    "hidden": 6, "radius": 1.0,
}  # fmt: skip


class FixedParser(PersonParser):
    """A parser with given heatmaps: those of given points, one instance after another."""

    def with_heatmaps(self, points: Tensor, confidence: Tensor, size: int = 24) -> "FixedParser":
        self.given = discs(points, confidence, (size, size), self.radius)
        return self

    def _sequence(self, image: Tensor) -> Tensor:
        maps = self.given.unsqueeze(0).expand(len(image), -1, -1, -1, -1)
        going = (maps.amax(dim=(-3, -2, -1), keepdim=True) >= self.stop).cumprod(dim=1)
        return maps * going


def crowd(images: int = 2, size: int = 32) -> CrowdImages:
    """Two people of three bright points each, each point in its own colour."""
    points = tensor([[[-0.5, -0.5], [-0.2, -0.5], [-0.5, -0.2]], [[0.5, 0.5], [0.2, 0.5], [0.5, 0.2]]])
    maps = discs(points, torch.ones(2, 3), (size, size), 2.0)
    image = torch.stack((maps[0].amax(dim=0), maps[1].amax(dim=0), maps[:, 0].amax(dim=0)))
    return CrowdImages(
        image.expand(images, -1, -1, -1), points.expand(images, -1, -1, -1), torch.ones(images, 2, 3),
        torch.full((images, 2), 200.0), torch.full((images,), float(size)),
        torch.ones(images, size, size, dtype=torch.bool), torch.full((images, 1, 4), torch.nan),
    )  # fmt: skip


def trainer(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, callbacks=list(callbacks),
        **options,
    )  # fmt: skip


def loader(batches: int = 2) -> DataLoader[Any]:
    item = CrowdImages(*(field[0] for field in crowd()))
    return DataLoader([item] * (2 * batches), batch_size=2)  # type: ignore[arg-type]


def test_reads_what_the_heatmaps_say() -> None:
    points = tensor([[[-0.5, 0.25], [0.1, 0.1], [0.3, -0.6]], [[0.5, 0.5], [-0.9, 0.2], [0.0, 0.0]]])
    parser = (
        FixedParser(**SMALL | {"flip": False}).with_heatmaps(points, tensor([[1.0, 1, 1], [1, 1, 0]])).eval()
    )
    found = parser(torch.rand(1, 3, 96, 96))
    assert found.points.shape == (1, 2, 3, 2)
    assert (found.points[0] - points).abs()[[0, 0, 0, 1, 1], [0, 1, 2, 0, 1]].max() < 0.05
    assert found.confidence[0].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_nobody_comes_after_the_stop() -> None:
    parser = PersonParser(**SMALL).eval()
    nn.init.constant_(parser.decoder.read.bias, -20.0)
    nn.init.zeros_(parser.decoder.read.weight)
    found = parser(torch.rand(2, 3, 32, 32))
    assert found.points.shape == (2, 3, 3, 2)
    assert (found.confidence == 0).all()
    nn.init.constant_(parser.decoder.read.bias, 0.0)  # 0.5 everywhere, so that the sequence never stops
    assert (parser(torch.rand(2, 3, 32, 32)).confidence == 0.5).all()


def test_a_mirrored_picture_gives_mirrored_people() -> None:
    """Flip testing makes it exact: left and right change places, and the order does not matter."""
    parser = PersonParser(**SMALL).eval()
    image = torch.rand(1, 3, 32, 32)
    one, other = parser.person_heatmaps(image), parser.person_heatmaps(image.flip(-1))
    mirrored = other.flip(-1)[:, :, parser.mirror]
    torch.testing.assert_close(match_order(one, mirrored), one, atol=1e-5, rtol=1e-4)


def test_the_mirrored_sequence_is_put_in_order() -> None:
    first = torch.rand(2, 3, 2, 4, 4) * torch.eye(3).repeat(1, 1)[:, :, None, None, None].sum(dim=1)
    order = [2, 0, 1]
    torch.testing.assert_close(match_order(first, first[:, order]), first)


def test_a_labelled_point_within_the_box_of_somebody_unannotated_is_learnt() -> None:
    """Such boxes cover everything, so that only the discs count."""
    parser, batch = PersonParser(**SMALL), crowd()
    hidden = batch._replace(counts=torch.zeros_like(batch.counts))
    assert all(term.item() > 0.1 for term in parser.terms(hidden).values())


def test_twenty_steps_lower_both_terms() -> None:
    parser, batch = PersonParser(**SMALL), crowd()
    optimizer = torch.optim.Adam(parser.parameters(), lr=0.01)
    first: dict[str, float] = {}
    for _ in range(20):
        terms = parser.terms(batch)
        first = first or {name: term.item() for name, term in terms.items()}
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    last = {name: term.item() for name, term in terms.items()}
    assert first.keys() == {"part", "person"}
    assert all(last[name] < 0.7 * first[name] for name in first), (first, last)


def test_a_term_of_weight_nothing_costs_nothing() -> None:
    assert PersonParser(**SMALL, weights=PersonParserWeights(part=0)).terms(crowd()).keys() == {"person"}
    peaks = PersonParser(**SMALL, decode="peaks", weights=PersonParserWeights(person=0))
    assert peaks.terms(crowd()).keys() == {"part"}
    assert peaks.eval().exported(torch.rand(1, 3, 32, 32)).keys() == {"parts"}


def test_peaks_are_grouped_bottom_up(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = crowd(1)
    options = SMALL | {"flip": False, "decode": "peaks"}
    parser = PersonParser(**options, weights=PersonParserWeights(person=0)).eval()
    parts = discs(batch.points[0], batch.confidence[0], (32, 32), 1.0).amax(dim=0)
    monkeypatch.setattr(parser, "encode", lambda image: ([], (20 * parts - 10).unsqueeze(0)))
    found = parser(batch.image)
    there = found.score[0] > 0
    assert there.sum() == 2
    order = found.points[0, there, 0, 0].argsort()
    assert (found.points[0, there][order] - batch.points[0]).abs().max() < 0.07


def test_only_training_is_limited() -> None:
    parser, batch = PersonParser(**SMALL), crowd()
    parser.instance_limit = 1
    steps: list[int] = []
    hook = parser.decoder.read.register_forward_hook(lambda *_: steps.append(1))
    parser.train().terms(batch)
    assert len(steps) == 1  # one of two people, and no stop
    parser.eval().terms(batch)
    assert len(steps) == 1 + 4
    hook.remove()


@pytest.mark.parametrize(
    "wrong",
    [
        {"names": []},
        {"instances": 0},
        {"mirror": [1, 2, 0]},
        {"mirror": [0, 1]},
        {"stop": 1.0},
        {"stop": -0.1},
        {"decode": "boxes"},
        {"sigma": [0.1, 0.1]},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        PersonParser(**SMALL | wrong)


def test_a_test_leaves_figures_and_tables(tmp_path: Path) -> None:
    parser = FixedParser(**SMALL | {"flip": False}).with_heatmaps(crowd().points[0], torch.ones(2, 3))
    (logged,) = trainer(tmp_path).test(parser, loader(), verbose=False)
    assert logged["test/AP50"] == 1
    assert logged["test/AP_2"] == logged["test/AP"]
    assert logged["test/count_right"] == 1
    assert logged["test/PCK"] == 1
    table = (tmp_path / "crowd.md").read_text()
    assert "| 2 | 0 | 0 | 4 |" in table
    assert "left_ear" in table
    assert "at most 3 that stops below 0.05, without the mirror image; regions unchanged" in table


def test_another_reading_leaves_the_figures_of_the_usual_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = FixedParser(**SMALL | {"flip": False}).with_heatmaps(crowd().points[0], torch.ones(2, 3))
    trainer(tmp_path).test(parser, loader(), verbose=False)
    usual = (tmp_path / "crowd.md").read_text()
    moving = SimpleNamespace(jitter_px=10.0)
    monkeypatch.setattr("lightning_kp.methods.person_parser.datamodule_of", lambda method: moving)
    parser.decode = "peaks"
    trainer(tmp_path).test(parser, loader(), verbose=False)
    moved = (tmp_path / "crowd-peaks-jitter10.md").read_text()
    assert "peaks of at least 0.2, 2 heatmap pixels apart" in moved
    assert "edges moved by up to 10 px" in moved
    assert (tmp_path / "crowd.md").read_text() == usual


# The curriculum on the number of people


def test_one_more_every_two_epochs() -> None:
    schedule = InstanceSchedule(from_epoch=3)
    assert [schedule.limit(epoch) for epoch in range(9)] == [2, 2, 2, 3, 3, 4, 4, 5, 5]
    found = InstanceSchedule(first=1, every_n_epochs=1)
    assert [found.limit(epoch, None) for epoch in range(3)] == [1, 1, 1]
    assert [found.limit(epoch, 2) for epoch in range(5)] == [1, 1, 2, 3, 4]


def test_convergence_by_hand() -> None:
    schedule, state = InstanceSchedule(patience=2, least_gain=0.1), Convergence()
    for epoch, loss in enumerate([1.0, 0.8, 0.75, 0.6, 0.58, 0.57, 0.1]):
        state.note(epoch, loss, schedule)
    # 0.75 is no gain of a tenth over 0.8, 0.6 is; 0.58 and 0.57 are two epochs without one.
    assert state.converged == 6


def test_the_running_loss_is_a_mean_of_its_epoch() -> None:
    running = RunningLoss()
    for epoch, loss in ((0, 9.0), (1, 1.0), (1, 2.0)):
        running.add(epoch, tensor(loss))
    assert running.mean == 1.5
    assert RunningLoss(**running.plain()).mean == 1.5


def test_impossible_schedules() -> None:
    with pytest.raises(ConfigurationError, match=r"first, .* of at least 1 .*got first=0"):
        InstanceSchedule(first=0)


class Limits(L.Callback):
    """Records the limit of every training batch."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_start(self, trainer: L.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(module.instance_limit)


def run(
    folder: Path, epochs: int, checkpoint: Path | None = None
) -> tuple[list[int], L.Trainer, dict[str, Any]]:
    torch.manual_seed(0)
    # A gain of nearly all is never reached: the second epoch already counts as converged.
    curriculum = Curriculum(
        instances=InstanceSchedule(first=1, every_n_epochs=1, patience=1, least_gain=0.99)
    )
    limits = Limits()
    runner = trainer(folder, curriculum, limits, max_epochs=epochs)
    runner.fit(
        PersonParser(**SMALL), loader(1), ckpt_path=checkpoint, weights_only=True if checkpoint else None
    )
    return limits.seen, runner, curriculum.state_dict()


def test_the_limit_rises_after_convergence_and_survives_a_restart(tmp_path: Path) -> None:
    whole, _, state = run(tmp_path, 5)
    assert whole == [1, 1, 2, 3, 4]
    first, runner, _ = run(tmp_path, 2)
    runner.save_checkpoint(tmp_path / "x.ckpt")
    rest, _, resumed = run(tmp_path, 5, tmp_path / "x.ckpt")
    assert first + rest == whole
    assert resumed["convergence"]["converged"] == state["convergence"]["converged"] == 2


def test_a_method_that_finds_all_at_once_is_refused(tmp_path: Path) -> None:
    import toy

    with pytest.raises(ConfigurationError, match="finds all at once"):
        trainer(tmp_path, Curriculum(instances=InstanceSchedule()), max_steps=1).fit(
            toy.Toy(), toy.NoiseData()
        )


class Knowing(FixedParser):
    """Distinguishes left and right in mirror images too, where it finds people in the opposite order."""

    def _sequence(self, image: Tensor) -> Tensor:
        maps = super()._sequence(image)
        if bool(image[0, 0, 0, 0] > 0.5):
            return maps
        return maps.flip(-1)[:, [1, 0, 2]][:, :, self.mirror]


def marked() -> Tensor:
    """An image (1, 3, 96, 96) that shows whether it is mirrored."""
    image = torch.zeros(1, 3, 96, 96)
    image[..., :48] = 1
    return image


def test_flip_testing_exchanges_left_and_right_of_the_same_person() -> None:
    points = tensor([[[-0.8, -0.5], [-0.6, 0.0], [-0.3, 0.5]], [[0.8, 0.5], [0.5, 0.0], [0.3, -0.5]]])
    points = torch.cat((points, torch.zeros(1, 3, 2)))
    seen = tensor([[1.0, 1, 1], [1, 1, 0], [0, 0, 0]])
    parser = Knowing(**SMALL).with_heatmaps(points, seen).eval()
    torch.testing.assert_close(parser.person_heatmaps(marked())[0], parser.given)


def test_flip_testing_of_peaks_exchanges_left_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    points = tensor([[[-0.8, -0.5], [-0.6, 0.0], [-0.3, 0.5]]])
    parser = PersonParser(**SMALL, decode="peaks", weights=PersonParserWeights(person=0)).eval()
    logits = 40 * discs(points, torch.ones(1, 3), (24, 24), 1.0) - 20

    def encode(image: Tensor) -> tuple[list[Tensor], Tensor]:
        upright = bool(image[0, 0, 0, 0] > 0.5)
        return [], logits if upright else logits.flip(-1)[:, parser.mirror]

    monkeypatch.setattr(parser, "encode", encode)
    found = parser(marked())
    assert found.confidence[0, 0].tolist() == pytest.approx([1, 1, 1])
    assert (found.points[0, 0] - points[0]).abs().max() < 0.05


def test_who_comes_after_the_stop_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image 1 stops before its second step and stays stopped, while image 0 continues."""
    parser = PersonParser(**SMALL).eval()
    sure = [[True, True], [True, False], [True, True]]

    class Steps(Decoding):
        def __init__(self) -> None:
            self.number = 0

        def step(self) -> Tensor:
            self.number += 1
            height = 20 * tensor(sure[self.number - 1]).float() - 10
            return height.view(2, 1, 1, 1).expand(2, 3, 8, 8)

    monkeypatch.setattr(parser.decoder, "start", lambda features: Steps())
    found = parser._sequence(torch.rand(2, 3, 32, 32)).amax(dim=(-3, -2, -1)) > 0.5
    assert found.tolist() == [[True, True, True], [True, False, False]]


def beside(parser: PersonParser, mirror: tuple[int, ...]) -> None:
    """Set up the parser with data that have this mirror."""
    data = SimpleNamespace(part_names=tuple(NAMES), mirror=mirror, batch_type=CrowdImages)
    parser._trainer = SimpleNamespace(datamodule=data)  # type: ignore[assignment]
    parser.setup("fit")


def test_mirrored_pictures_are_read_as_the_data_mirror_them() -> None:
    parser = PersonParser(**{name: value for name, value in SMALL.items() if name != "mirror"})
    beside(parser, (0, 2, 1))
    assert parser.mirror.tolist() == parser.hparams["mirror"] == [0, 2, 1]
    beside(parser, (0, 2, 1))
    given = PersonParser(**SMALL)
    beside(given, (0, 2, 1))
    with pytest.raises(ConfigurationError, match=r"Leave --model\.mirror out"):
        beside(given, (0, 1, 2))


def test_sixteen_bits_find_the_same_people() -> None:
    torch.manual_seed(0)
    agrees_in_sixteen_bits(PersonParser(**SMALL), crowd(), rtol=0.02)


def test_a_loss_that_creeps_down_has_not_converged() -> None:
    convergence, schedule = Convergence(), InstanceSchedule(patience=3, least_gain=0.02)
    for epoch, loss in enumerate([1, 0.985, 0.97, 0.955, 0.94, 0.93]):
        convergence.note(epoch, loss, schedule)
    assert convergence.converged is None
