"""kp export: ONNX Runtime and torch compute the same values for every keypoint method; other graphs are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from every_method import METHODS, SIZE, build
from torch import Tensor

from lightning_kp import onnx_export
from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.checkpoints import write_method
from lightning_kp.cli import main
from lightning_kp.errors import ConfigurationError, ExportError
from lightning_kp.heatmaps import Moments
from lightning_kp.method import KeypointMethod
from lightning_kp.methods import BKinD
from lightning_kp.onnx_export import largest_differences, refuse_differences, write_onnx

KEYPOINT_METHODS = [name for name, kind in METHODS.items() if issubclass(kind, KeypointMethod)]


def blobs(number: int) -> Tensor:
    """Smooth images, so that rounding decides no maximum."""
    coarse = torch.rand(number, 3, 5, 5, generator=torch.Generator().manual_seed(number))
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")


def seeded(name: str) -> KeypointMethod:
    torch.manual_seed(0)
    method = build(name)
    assert isinstance(method, KeypointMethod)
    return method.eval()


# These have the graph of another method, and an export takes 10 seconds.
SAME_GRAPH = ("SupervisedKeypoints", "SemiSupervisedBKinD", "LinearBridge", "SemiMultiPose")


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.slow if each in SAME_GRAPH else ()) for each in KEYPOINT_METHODS],
)
def test_every_keypoint_method_computes_the_same(name: str, tmp_path: Path) -> None:
    import onnx

    method, path = seeded(name), tmp_path / "out" / "model.onnx"
    names = write_onnx(method, path, SIZE, {"fit": "pad"})
    differences = largest_differences(method, path, [blobs(1), blobs(3)])
    assert tuple(differences) == names
    refuse_differences(differences)
    notes = {item.key: item.value for item in onnx.load(path).metadata_props}["lightning_kp"]
    assert json.loads(notes)["class_path"].endswith(f".{name}")
    assert json.loads(notes)["size"] == SIZE
    # Flip testing of the parser is not in its graph; that of others is, or there is none.
    assert ("mirror image" in json.loads(notes)["note"]) == (name == "PersonParser")


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    method, path = seeded("BKinD"), tmp_path / "model.onnx"
    write_onnx(method, path, SIZE, {})
    with torch.no_grad():
        for weights in method.parameters():
            weights.add_(0.3 * torch.randn_like(weights))
    with pytest.raises(ExportError, match=r"points by .* Nothing was written"):
        refuse_differences(largest_differences(method, path, [blobs(2)]))


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="points by nan"):
        refuse_differences({"points": (float("nan"), 0.01)})


class TakesTheBatchForAConstant(BKinD):
    """len(tensor) is a plain number while a graph is traced."""

    def locate(self, image: Tensor) -> Moments:
        found = super().locate(image)
        return found._replace(peak=found.peak * torch.ones(len(image), 1, 1))


class ReadsAValue(BKinD):
    """Its control flow depends on a value in a tensor."""

    def locate(self, image: Tensor) -> Moments:
        found = super().locate(image)
        return found if bool(found.peak.max() > 0.5) else found._replace(peak=found.peak * 2)


def test_a_batch_taken_for_a_constant_is_told(tmp_path: Path) -> None:
    method, path = TakesTheBatchForAConstant(**seeded("BKinD").hparams).eval(), tmp_path / "model.onnx"
    with pytest.raises(ExportError, match="constant"):
        exported_and_compared(method, path)


def test_a_graph_that_the_runtime_does_not_know_is_told_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behaves like onnxruntime 1.24 with a deformable convolution."""
    import onnx

    checkpoint, path = tmp_path / "model.ckpt", tmp_path / "model.onnx"
    write_method(checkpoint, seeded("BKinD"), {"size": SIZE, "fit": "pad"})

    def renamed(method: KeypointMethod, path: Path, *rest: Any) -> tuple[str, ...]:
        names = write_onnx(method, path, *rest)
        model = onnx.load(path)
        model.graph.node[0].domain = ""
        model.graph.node[0].op_type = "DeformUnknown"
        onnx.save(model, path)
        return names

    monkeypatch.setattr("lightning_kp.api.exporting.write_onnx", renamed)  # where it is used
    assert main(["export", str(checkpoint), "--out", str(path)]) == 2
    output = capsys.readouterr().err
    assert all(word in output for word in ("cannot run the graph", "DeformUnknown", "pip install"))
    assert not path.exists()


def test_a_step_that_no_graph_holds_is_told(tmp_path: Path) -> None:
    method = ReadsAValue(**seeded("BKinD").hparams).eval()
    with pytest.raises(ExportError, match="ReadsAValue cannot be exported as an ONNX graph"):
        exported_and_compared(method, tmp_path / "model.onnx")


def exported_and_compared(method: KeypointMethod, path: Path) -> None:
    write_onnx(method, path, SIZE, {})
    largest_differences(method, path, [blobs(1), blobs(3)])


def test_from_the_command_line_on_frames_of_a_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_arena(ArenaSettings(size=48, frames=12, animals=1), tmp_path, "arena")
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    write_method(checkpoint, seeded("BKinD"), {"size": SIZE, "fit": "pad"})
    assert main(["export", str(tmp_path / "run"), "--video", str(video)]) == 0
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert "points: torch and ONNX differ by at most" in capsys.readouterr().out


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "REQUIRED_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(ConfigurationError, match=r"needs no_such_package\. .*lightning-kp\[onnx\]"):
        onnx_export.require_onnx()
