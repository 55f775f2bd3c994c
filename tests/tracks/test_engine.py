"""Engines: ONNX Runtime finds what torch finds, its graph is exported once, and torch takes over with a reason."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from every_method import METHODS, SIZE, build

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.batches import Frames
from lightning_kp.errors import ConfigurationError, DataError, ExportError
from lightning_kp.frames.view import ViewSettings
from lightning_kp.heatmaps import Moments
from lightning_kp.keypoints import Keypoints
from lightning_kp.method import KeypointMethod, Prediction
from lightning_kp.methods import BKinD
from lightning_kp.tracks import engine as engines
from lightning_kp.tracks.engine import Engine, choose_engine, graph_path
from lightning_kp.tracks.reading import read_tracks
from lightning_kp.tracks.tracking import TrackingReport, track_video

pytest.importorskip("onnxruntime")
# Decoding of PersonParser stops where its heatmaps say so, which no graph can do. An untrained hourglass has flat
# maxima, whose place is decided by rounding.
NOT_COMPARED = ("PersonParser", "StackedHourglass")
WITH_GRAPH = [
    name for name, kind in METHODS.items() if issubclass(kind, KeypointMethod) and name not in NOT_COMPARED
]
FRAMES = 10


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What a user reads, so far."""
    caplog.set_level(logging.INFO, "lightning_kp")
    return lambda: [record.getMessage() for record in caplog.records if record.name == engines.__name__]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of ``seeded()``."""
    path = tmp_path_factory.mktemp("graph") / "bkind.onnx"
    engines.write_onnx(seeded(), path, SIZE, {}, outputs=engines.tracked_outputs)
    return path.read_bytes()


@pytest.fixture
def exported(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths of exports, which take the file of ``seeded()`` instead of exporting for seconds."""
    seen: list[Path] = []

    def write(method: KeypointMethod, path: Path, size: int, notes: Any, **options: Any) -> None:
        assert (size, options) == (SIZE, {"outputs": engines.tracked_outputs})
        path.write_bytes(graph)
        seen.append(path)

    monkeypatch.setattr(engines, "write_onnx", write)
    return seen


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    return write_arena(ArenaSettings(size=64, frames=FRAMES, animals=2), folder, "arena")


def seeded(name: str = "BKinD") -> KeypointMethod:
    torch.manual_seed(0)
    method = build(name)
    assert isinstance(method, KeypointMethod)
    return method.eval()


def track(video: Path, stem: Path, engine: Engine) -> TrackingReport:
    return track_video(
        engine.method,
        video,
        stem,
        ViewSettings(SIZE),
        origin="a",
        batch_size=4,
        formats=("csv",),
        engine=engine,
    )


def images(number: int = 3) -> Frames:
    """Smooth images, so that rounding decides no maximum."""
    coarse = torch.rand(number, 3, 5, 5, generator=torch.Generator().manual_seed(number))
    index = torch.arange(number)
    return Frames(torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear"), index, index)


QUICK = (
    "BKinD",
    "MultiInstanceBKinD",
    "DirectPose",
)  # one for each kind of read-out; an export takes seconds


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in QUICK else pytest.mark.slow) for each in WITH_GRAPH]
)
def test_both_engines_predict_the_same(name: str) -> None:
    method = seeded(name)
    engine = choose_engine("onnx", method, "digest")
    with torch.inference_mode():
        engine.predict(images(2))
        assert engine.name == "onnx"
        wanted, found = method.predict_step(images(5)), engine.predict(images(5))
    seen = wanted.keypoints.confidence > 0
    torch.testing.assert_close(found.keypoints.confidence, wanted.keypoints.confidence, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(found.keypoints.points[seen], wanted.keypoints.points[seen], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.covariance[seen], wanted.covariance[seen], atol=1e-5, rtol=1e-3)
    assert found.index.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["BKinD", "DirectPose"])
def test_both_engines_write_the_same_tracks(name: str, video: Path, tmp_path: Path) -> None:
    method = seeded(name)
    plain, fast = Engine(method), choose_engine("onnx", method, "digest")
    track(video, tmp_path / "torch", plain)
    track(video, tmp_path / "onnx", fast)
    assert (plain.name, fast.name) == ("torch", "onnx")
    wanted, found = read_tracks(tmp_path / "torch.csv"), read_tracks(tmp_path / "onnx.csv")
    assert len(found) == FRAMES
    np.testing.assert_allclose(found.points_px, wanted.points_px, atol=0.02)
    np.testing.assert_allclose(found.confidence, wanted.confidence, atol=1e-4)


def test_another_engine_does_not_track_again(video: Path, tmp_path: Path, exported: list[Path]) -> None:
    method = seeded()
    assert not track(video, tmp_path / "t", Engine(method)).skipped
    assert track(video, tmp_path / "t", choose_engine("onnx", method, "digest")).skipped


def test_a_graph_is_exported_once_for_each_checkpoint_and_side(exported: list[Path]) -> None:
    method = seeded()
    for content in ("one", "one", "two"):
        choose_engine("onnx", method, content).predict(images())
    assert len(exported) == 2
    assert graph_path("one", SIZE).is_file()
    assert len({graph_path(content, side) for content in ("one", "two") for side in (32, 64)}) == 4


def test_a_damaged_graph_is_exported_again(exported: list[Path]) -> None:
    path = graph_path("digest", SIZE)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no graph")
    engine = choose_engine("onnx", seeded(), "digest")
    engine.predict(images())
    assert (engine.name, len(exported)) == ("onnx", 1)
    assert path.stat().st_size > 1000


def test_the_graph_of_other_weights_is_exported_again(graph: bytes) -> None:
    path = graph_path("digest", SIZE)
    path.parent.mkdir(parents=True)
    path.write_bytes(graph)
    method = seeded()
    with torch.no_grad():
        for weights in method.parameters():
            weights.add_(0.3 * torch.randn_like(weights))
    engine = choose_engine("onnx", method, "digest")
    engine.predict(images())
    assert engine.name == "onnx"
    assert path.read_bytes() != graph
    with torch.no_grad():
        wanted = method.predict_step(images(2)).keypoints.points
    torch.testing.assert_close(engine.predict(images(2)).keypoints.points, wanted, atol=1e-4, rtol=0)


def test_old_graphs_are_removed(exported: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "KEPT_GRAPHS", 1)
    method = seeded()
    for content in ("old", "new"):
        choose_engine("onnx", method, content).predict(images())
    assert [path.name for path in graph_path("new", SIZE).parent.iterdir()] == [graph_path("new", SIZE).name]


def test_auto_exports_only_what_is_worth_it(exported: list[Path], messages: Callable[[], list[str]]) -> None:
    engine = choose_engine("auto", seeded(), "digest")
    engine.expect(6)
    engine.predict(images())
    engine.predict(images())
    assert engine.name == "torch"
    assert messages() == [
        "Computed with torch: too little work to be worth an export; --engine onnx exports."
    ]
    engine.expect(10**9)  # years of work
    engine.predict(images())
    assert engine.name == "onnx"
    assert "Computed with ONNX Runtime, whose points differ from torch by at most" in messages()[-1]
    again = choose_engine("auto", seeded(), "digest")
    again.predict(images())
    assert again.name == "onnx", "the graph is there already"


def test_without_onnxruntime_auto_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, messages: Callable[[], list[str]]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    engine = choose_engine("auto", seeded(), "digest")
    engine.expect(10**9)
    engine.predict(images())
    assert engine.name == "torch"
    assert len(messages()) == 1
    assert messages()[0].startswith("Computed with torch. The engine onnx needs onnxruntime.")
    assert "pip install 'lightning-kp[onnx]'" in messages()[0]
    with pytest.raises(ConfigurationError, match=r"needs onnxruntime\. Install"):
        choose_engine("onnx", seeded(), "digest")


def test_torch_never_looks_for_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, messages: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(engines, "require_onnx", lambda purpose: pytest.fail("it looked"))
    monkeypatch.setattr(engines, "agreed_graph", lambda *rest: pytest.fail("it exported"))
    engine = choose_engine("torch", seeded(), "digest")
    engine.expect(10**9)
    engine.predict(images())
    assert not messages()


def moved(points_px: float = 0.0, confidence: float = 0.0, missing: bool = False) -> Any:
    """A graph's call whose result differs by that much from what the graph found."""
    call = engines.Graph.__call__

    def changed(graph: engines.Graph, batch: Frames) -> Prediction:
        found = call(graph, batch)
        points, peak = found.keypoints
        points = points + 2 * points_px / SIZE * torch.tensor([1.0, 0.0])
        points = torch.full_like(points, float("nan")) if missing else points
        return found._replace(keypoints=Keypoints(points, peak + confidence))

    return changed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"points_px": 0.06}, r"differ by 0\.06 px, more than 0\.05 px"),
        ({"confidence": 0.01}, "differ in confidence by 0.01"),
        ({"missing": True}, "differ by nan px"),
    ],
)
def test_a_graph_that_disagrees_is_not_used(
    change: dict[str, Any],
    reason: str,
    exported: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    messages: Callable[[], list[str]],
) -> None:
    monkeypatch.setattr(engines.Graph, "__call__", moved(**change))
    method = seeded()
    engine = choose_engine("auto", method, "digest")
    engine.expect(10**9)
    found = engine.predict(images())
    assert engine.name == "torch"
    assert len(messages()) == 1
    assert messages()[0].startswith("Computed with torch: ONNX Runtime and torch differ")
    torch.testing.assert_close(found[0], method.predict_step(images())[0])
    with pytest.raises(ExportError, match=reason):
        choose_engine("onnx", method, "digest").predict(images())


def test_a_difference_below_the_bound_is_agreement(
    exported: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.Graph, "__call__", moved(points_px=0.04))
    engine = choose_engine("onnx", seeded(), "digest")
    engine.predict(images())
    assert engine.name == "onnx"


class TakesTheBatchForAConstant(BKinD):
    """len(tensor) is a plain number while a graph is traced, as which the exporter draws two images."""

    def locate(self, image: torch.Tensor) -> Moments:
        found = super().locate(image)
        return found._replace(peak=found.peak * torch.ones(len(image), 1, 1))


def test_a_graph_for_one_number_of_images_is_not_used() -> None:
    method = TakesTheBatchForAConstant(**seeded().hparams).eval()
    with pytest.raises(ExportError, match=r"cannot compute the graph|another number"):
        choose_engine("onnx", method, "digest").predict(images(2))


class ReadsAValue(BKinD):
    """Its control flow depends on a value in a tensor."""

    def locate(self, image: torch.Tensor) -> Moments:
        found = super().locate(image)
        return found if bool(found.peak.max() > 0.5) else found._replace(peak=found.peak * 0.5)


def test_a_method_without_a_graph_stays_with_torch(messages: Callable[[], list[str]]) -> None:
    method = ReadsAValue(**seeded().hparams).eval()
    engine = choose_engine("auto", method, "digest")
    engine.expect(10**9)
    engine.predict(images())
    assert engine.name == "torch"
    assert "ReadsAValue cannot be exported as an ONNX graph" in messages()[0]
    with pytest.raises(ExportError, match="ReadsAValue cannot be exported"):
        choose_engine("onnx", method, "digest").predict(images())


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KP_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written.*KP_CACHE_DIR"):
        choose_engine("onnx", seeded(), "digest").predict(images())


def test_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"no engine 'tensorrt'\. Use auto, torch, onnx"):
        choose_engine("tensorrt", seeded(), "digest")
    with pytest.raises(ConfigurationError, match=r"does not compute on the device mps\. Use --device cpu"):
        engines._providers(torch.device("mps"))
    with pytest.raises(ConfigurationError, match="onnxruntime-gpu"):
        engines._providers(torch.device("cuda"))
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    assert engines._providers(torch.device("cuda", 1))[0] == ("CUDAExecutionProvider", {"device_id": 1})
