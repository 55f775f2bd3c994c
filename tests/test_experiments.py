"""Every experiment and preset passes the real parser and runs one step on tiny data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import human36m_folders
import lightning  # noqa: F401  (before a test captures the stream that it logs to)
import pytest
import yaml
from behaviour_sets import write_for
from class_folders import write_folders
from crowd_files import tiny_crowds
from mars_files import write_mars
from people_sets import tiny_people
from PIL import Image as Pictures
from pose_files import write_poses
from repository import ROOT
from still_sets import STILLS, tiny_stills

from lightning_kp.arena.recording import ArenaSettings, write_arena
from lightning_kp.cli import main
from lightning_kp.command.arguments import flattened
from lightning_kp.datamodules import FlyVsFly
from lightning_kp.video.paths import find_videos

# Sweep files are not settings of `kp fit`; tests/sweeps reads them.
EXPERIMENTS = [
    file for file in sorted((ROOT / "experiments").glob("*.yaml")) if not file.name.startswith("sweep_")
]
PRESETS = sorted((ROOT / "lightning_kp" / "presets").glob("*.yaml"))
FILES = pytest.mark.parametrize("file", [*EXPERIMENTS, *PRESETS], ids=lambda file: file.stem)
NO_VIDEO = "--data.videos=none.mp4"  # presets leave the videos out
# Replacements for weights and data that need not be available.
TRAINER = [
    "--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", "--trainer.devices=1",
    "--trainer.precision=32-true", "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]  # fmt: skip
TINY = [
    "--model.encoder=tiny", "--model.pretrained=false", "--model.reconstruction=structural",
    "--model.pose_width=8", "--model.decoder_widths=[8,8,8]", "--model.variances=[0.1,0.03,0.005]",
    "--data.size=48", "--data.gap=2", "--data.batch_size=2", "--data.num_workers=0", *TRAINER,
]  # fmt: skip
# 000, Table 5.11: keypoints, image side, frame gap, batch.
PAPER = {
    "bkind_calms21": (10, 256, 6, 5),
    "multiinstancebkind_flyvsfly": (10, 256, 3, 5),
    "bkind_human36m": (16, 128, 20, 36),
    "bkind_vegetation": (15, 256, 60, 5),
    "paper": (10, 256, 6, 5),
}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KP_CACHE_DIR", str(folder / "cache"))
        yield write_arena(ArenaSettings(size=48, frames=30, animals=1), folder, "arena")


def test_there_are_experiments_and_presets() -> None:
    assert PAPER.keys() <= {file.stem for file in [*EXPERIMENTS, *PRESETS]}
    assert "laptop" in {file.stem for file in PRESETS}


@FILES
def test_every_setting_is_known_and_keeps_its_value(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = flattened(yaml.safe_load(file.read_text()))
    brings_data = "data.videos" in written or written["data.class_path"] != "VideoFramePairs"
    videos = [] if brings_data else [NO_VIDEO]
    assert main(["fit", "--config", str(file), *videos, "--print_config"]) == 0
    read = flattened(yaml.safe_load(capsys.readouterr().out))
    for name, value in written.items():
        if name.endswith("class_path"):
            assert str(read[name]).endswith(value), name
        elif name != "trainer.callbacks":
            assert read[name] == value, name


def test_a_misspelt_setting_in_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "experiments" / "bkind_arena.yaml").read_text()
    assert text.count("    gap:") == 1
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("    gap:", "    gapp:"))
    assert main(["fit", "--config", str(wrong), "--print_config"]) == 2
    assert "Did you mean --data.gap?" in capsys.readouterr().err


@FILES
def test_it_runs_on_tiny_data(
    file: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = flattened(yaml.safe_load(file.read_text()))
    if settings["model.class_path"] == "BehaviourClassifier":
        assert main(["fit", "--config", str(file), *TRAINER, *write_for(file.stem, tmp_path)]) == 0
        return
    if settings["model.class_path"] == "AnchorClassifier":
        assert main(["fit", "--config", str(file), *TRAINER, *tiny_classes(tmp_path)]) == 0
        return
    if settings["model.class_path"] == "PersonParser":
        crowds = tiny_crowds(settings["data.class_path"], settings["model.names"], tmp_path)
        assert main(["fit", "--config", str(file), *TRAINER, *crowds]) == 0
        return
    if settings["data.class_path"] == "PoseActions":
        poses = [f"--data.root={write_poses(tmp_path, frames=400)}", "--data.poses=poses.npz"]
        assert main(["fit", "--config", str(file), *TRAINER, *poses]) == 0
        return
    if settings.get("data.labels") == ["MARS_keypoints_top.json"]:
        assert main(["fit", "--config", str(file), *tiny_mars(settings, video, tmp_path)]) == 0
        return
    if settings["model.class_path"] == "StackedHourglass":
        people = tiny_people(settings["data.class_path"], tmp_path)
        assert main(["fit", "--config", str(file), *TRAINER, *people]) == 0
        return
    if settings["data.class_path"] in STILLS:
        known = {f"--{name}" for name in settings} | {each.partition("=")[0] for each in TRAINER}
        small = [option for option in TINY if option.partition("=")[0] in known]
        data = tiny_stills(settings, tmp_path / "stills")
        assert main(["fit", "--config", str(file), *small, *more_for_stills(settings), *data]) == 0
        return
    if "data.labels" in settings:
        assert main(["fit", "--config", str(file), *tiny_labels(settings, video, tmp_path)]) == 0
        return
    data = [f"--data.videos=[{video}]"]
    if settings["data.class_path"] == "SyntheticArena":
        data = ["--data.frames=30", "--data.test_frames=10", "--data.frame_px=48", "--data.animals=1"]
    if settings["data.class_path"] == "Human36M":
        people = {(who, "Waiting-1"): human36m_folders.poses(4) for who in ("S1", "S5")}
        data = [f"--data.root={human36m_folders.write_fetched(tmp_path / 'h36m', people)}"]
    if "data.boxes" in settings:
        data.append("--data.boxes=[2,2,46,46]")
    assert main(["fit", "--config", str(file), *TINY, *data]) == 0


def more_for_stills(settings: dict[str, Any]) -> list[str]:
    """Options that keep the decoder as deep as the encoder: strides 4 to 32, or 2 to 16; thresholds below the map's."""
    if settings["model.class_path"] == "LMPNet":
        return ["--model.threshold=1"]
    if settings["model.class_path"] == "KeypointClassifier":
        kind = "lightning_kp.methods.multitask_discovery.MultiTaskDiscovery"
        return [f"--model.discovered={kind}", '--model.settings={"keypoints": 3, "tasks": ["concentration"]}']
    if settings["model.class_path"] != "WeakDiscovery":
        return []
    return ["--model.perceptual_weights=false", "--model.class_width=8"]


def tiny_classes(folder: Path) -> list[str]:
    """Options that replace the file's data by six small images and its network by a small one."""
    write_folders(folder / "classes", count=3)
    return [
        "--model.network=cifar_resnet8", "--data=ClassFolders", f"--data.root={folder / 'classes'}",
        "--data.test=test", "--data.size=8", "--data.batch_size=2",
    ]  # fmt: skip


def tiny_mars(settings: dict[str, Any], video: Path, folder: Path) -> list[str]:
    """Options that replace MARS-Pose by five small images, and the network by a small one."""
    write_mars(folder, frames=5)
    known = {f"--{name}" for name in settings} | {each.partition("=")[0] for each in TRAINER}
    if "data.videos" in settings:
        known |= {"--model.pose_width", "--model.decoder_widths", "--model.variances"}
    others = ("--model.width=8", "--model.depth=1", f"--data.videos=[{video}]", "--data.train_frames=3")
    chosen = [each for each in (*TINY, *others) if each.partition("=")[0] in known]
    return [*chosen, f"--data.root={folder}"]


def tiny_labels(settings: dict[str, Any], video: Path, folder: Path) -> list[str]:
    """Options that replace the file's labels by five labelled images with the same point names."""
    names = settings["data.names"]
    heads = (("scorer", ["me"] * len(names)), ("bodyparts", names), ("coords", None))
    rows = [[head, *(cell for each in cells for cell in (each, each))] for head, cells in heads if cells]
    rows.append(["coords", *["x", "y"] * len(names)])
    for number in range(5):
        Pictures.new("RGB", (48, 48), (50 * number, 0, 0)).save(folder / f"img{number}.png")
        rows.append([f"img{number}.png", *(str(5 + k) for k in range(2 * len(names)))])
    labels = folder / "CollectedData.csv"
    labels.write_text("\n".join(",".join(row) for row in rows) + "\n")
    known = {f"--{name}" for name in settings} | {
        "--data.num_workers",
        *(each.partition("=")[0] for each in TRAINER),
    }
    options = [option for option in TINY if option.partition("=")[0] in known]
    videos = [f"--data.videos=[{video}]"] if "data.videos" in settings else []
    if "data.batches" in settings:  # groups of animals: one of the five frames tests, one is left over
        group = {
            "test_labels": "null",
            "test_frames": "1",
            "unlabelled": "[]",
            "boxes": "[2, 2, 46, 46]",
        }
        videos += [f"--data.{name}={value}" for name, value in group.items() if f"data.{name}" in settings]
        videos.append("--data.train_frames=3")
    return [*options, *videos, f"--data.labels=[{labels}]"]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_settings(name: str) -> None:
    file = next(file for file in [*EXPERIMENTS, *PRESETS] if file.stem == name)
    config: dict[str, Any] = yaml.safe_load(file.read_text())
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert (model["keypoints"], data["size"], data["gap"], data["batch_size"]) == PAPER[name]
    assert (model["encoder"], model["target"], model["reconstruction"]) == ("resnet50", "ssim", "perceptual")


def test_the_papers_videos_are_chosen_from_the_published_folders(tmp_path: Path) -> None:
    """CalMS21's ten training videos without a cable (70 train, 19 test), and the movies that FlyVsFly trains on."""
    mice = [
        f"task1_videos_mp4/{'train' if n <= 70 else 'test'}/mouse{n:03d}_task1_annotator1.mp4"
        for n in range(1, 90)
    ]
    flies = [
        f"Aggression/movie{n}/movie{n}{end}"
        for n in range(1, 11)
        for end in (".seq", "_track.mat", "_feat.mat")
    ]
    for name in (*mice, *flies):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {}
    for name in ("bkind_calms21", "multiinstancebkind_flyvsfly"):
        config = yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text())
        found[name] = [path.name for path in find_videos(config["data"]["init_args"]["videos"], tmp_path)]
    numbers = (1, 2, *range(51, 59))
    assert found["bkind_calms21"] == [f"mouse{n:03d}_task1_annotator1.mp4" for n in numbers]
    assert found["multiinstancebkind_flyvsfly"] == [f"movie{n}.seq" for n in FlyVsFly().train]


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_a_file_says_how_to_run_it(file: Path) -> None:
    name, _, data = file.stem.partition("_")
    config = yaml.safe_load(file.read_text())
    assert data
    assert config["model"]["class_path"].rpartition(".")[2].lower() == name
    header = file.read_text().split("\nseed_everything")[0]
    assert f"experiments/{file.name}" in header
