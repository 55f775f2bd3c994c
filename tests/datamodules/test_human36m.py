"""Human3.6M in its three layouts: the right joints on the right images, pairs with one box, errors per activity."""

import dataclasses
import json
import shutil
import warnings
from types import SimpleNamespace
from typing import Any

import h5py
import human36m_folders as folders
import numpy as np
import pytest
import torch
from human36m_folders import poses
from PIL import Image
from torch import Tensor

from lightning_kp.batches import FramePairs, LabelledImages
from lightning_kp.cli import main
from lightning_kp.datamodules import Human36M
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.method import KeypointMethod
from lightning_kp.methods import BKinD, StackedHourglass
from lightning_kp.people.human36m import (
    JOINT_NAMES,
    MIRROR,
    OF_32,
    SIX_ACTIVITIES,
    TEST_SUBJECTS,
    TRAIN_SUBJECTS,
    activity_of,
    find_sequences,
)
from lightning_kp.people.human36m_images import PoseImages, PosePairs, as_seen_from_front, square_box
from lightning_kp.scoring.activities import pose_distances, score_activities

NUMBER = 6
PEOPLE = {("S1", "Waiting"): 0, ("S5", "Walking"): 1, ("S9", "Waiting"): 2, ("S11", "Walking"): 3}


@pytest.fixture(scope="module", params=["fetch", "processed", "simplified", "table"])
def root(request, tmp_path_factory):
    """The same four sequences in each layout."""
    folder = tmp_path_factory.mktemp(request.param)
    moving = {person: poses(NUMBER, seed) for person, seed in PEOPLE.items()}
    if request.param in ("fetch", "processed"):
        inner = folder if request.param == "fetch" else folder / "processed"
        folders.write_fetched(inner, {(who, f"{what}-1"): pose for (who, what), pose in moving.items()})
    elif request.param == "simplified":
        named = {(who, f"{what} 1.54138969"): pose for (who, what), pose in moving.items()}
        folders.write_simplified(folder / "human_images", named)
    else:
        folders.write_table(folder, {(who, f"{what}_1"): pose for (who, what), pose in moving.items()})
    return folder


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetched")
    moving = {(who, f"{what}-1"): poses(NUMBER, seed) for (who, what), seed in PEOPLE.items()}
    return folders.write_fetched(folder, moving)


# ---- layouts


def test_every_layout_gives_the_same_joints(root):
    found = find_sequences(root, ["S1", "S9"])
    assert {(each.subject, each.activity) for each in found} == {("S1", "Waiting"), ("S9", "Waiting")}
    for sequence in found:
        assert len(sequence.images) == NUMBER
        wanted = poses(NUMBER, PEOPLE[sequence.subject, sequence.activity])[:, OF_32]
        read = [sequence.points_px(i, (folders.SIDE, folders.SIDE)) for i in range(NUMBER)]
        assert np.allclose(read, wanted)


def test_joints_lie_on_their_discs(root):
    sequence = find_sequences(root, ["S5"])[0]
    image = np.asarray(Image.open(sequence.images[3])).astype(int)
    points = sequence.points_px(3, image.shape[:2])
    for joint in ("head", "left_wrist", "right_foot"):
        x, y = points[JOINT_NAMES.index(joint)].round().astype(int)
        number = OF_32[JOINT_NAMES.index(joint)]
        assert np.abs(image[y, x] - (200, 8 * number, 255 - 8 * number)).max() < 40, joint


def test_cropped_images_are_known_as_such(root):
    assert all(
        each.is_cropped == (root.name.startswith("simplified")) for each in find_sequences(root, ["S1"])
    )


@pytest.mark.parametrize(
    "name", ["Waiting-1", "Waiting 1.54138969", "Waiting.54138969", "S11_Waiting_1.54138969", "Waiting"]
)
def test_names_of_activities(name):
    assert activity_of(name) == "Waiting"
    assert activity_of(name.replace("Waiting", "WalkingDog")) == "WalkingDog"


def test_real_images_poses_and_names(kp_data):
    found = find_sequences(kp_data / "format_samples" / "h36m", ["S1", "S5", "S7", "S8"])
    assert [(each.subject, each.activity) for each in found] == [
        ("S1", "Directions"), ("S5", "SittingDown"), ("S7", "Greeting"), ("S8", "WalkDog"),
    ]  # fmt: skip
    assert found[3].name == "S8/S8_WalkDog_1.55011271"
    table = json.loads((kp_data / "format_samples" / "h36m" / "h36m_coco.json").read_text())
    wanted = np.array(table["annotations"][0]["keypoints"]).reshape(17, 3)[1:, :2]
    assert np.allclose(found[0].points_px(0, (1002, 1000)), wanted)
    item = PoseImages(found, 1, 128)[0]
    assert item.image.shape == (3, 128, 128)
    assert (item.points.abs() < 0.7).all()  # a box with a margin of 0.3 on each side
    assert item.confidence.tolist() == [[1.0] * 16]


def test_problems_name_file_and_key(fetched, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(fetched / "S1", broken / "S1")
    with h5py.File(broken / "S1" / "Waiting-1" / "annot.h5", "a") as file:
        del file["camera"]
    with pytest.raises(DataError, match=r"S1/Waiting-1/annot.h5 has no key 'camera'"):
        find_sequences(broken, ["S1"])
    with h5py.File(broken / "S1" / "Waiting-1" / "annot.h5", "a") as file:
        file["camera"] = [1]
    with pytest.raises(DataError, match=r"'pose/2d' has shape \(12, 32, 2\), with 12 frames and 1 cameras"):
        find_sequences(broken, ["S1"])
    with pytest.raises(DataError, match=r"no sequence of S7 in Posing. It has: S1 Waiting, S5 Walking, S9"):
        find_sequences(fetched, ["S7"], ["Posing"])
    with pytest.raises(DataError, match=r"has no Human3.6M images"):
        find_sequences(tmp_path / "broken" / "S1", ["S1"])
    with pytest.raises(DataError, match=r"There is no folder"):
        find_sequences(tmp_path / "nowhere", ["S1"])


def test_a_missing_image_and_a_missing_landmark_are_named(tmp_path):
    root = folders.write_simplified(tmp_path, {("S1", "Waiting.54138969"): poses(3)})
    (root / "S1" / "Landmarks" / "Waiting.54138969" / "2.mat").unlink()
    images = PoseImages(find_sequences(root, ["S1"]), 1, 32)
    assert images[0].confidence.sum() == 16
    with pytest.raises(DataError, match=r"2.mat has no readable 'keypoints_2d'"):
        images[1]
    images.sequences[0].images[2].write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"3.jpg cannot be read"):
        images[2]


# ---- boxes, pairs, labels


def test_a_box_by_hand():
    points = np.full((16, 2), np.nan)
    points[3], points[5] = (10, 20), (20, 60)
    # 40 tall, so half a side is 40 (0.5 + 0.3) = 32 about (15, 40); pixel centres lie half a pixel from edges.
    assert square_box(points) == (-17, 8, 48, 73)
    with pytest.raises(DataError, match="no joint"):
        square_box(np.full((16, 2), np.nan))


def test_left_and_right_as_seen():
    front, back = (poses(1, turned=turned)[0][OF_32] for turned in (False, True))
    assert np.array_equal(as_seen_from_front(front), front)
    assert np.array_equal(as_seen_from_front(back), back[list(MIRROR)])
    left = [i for i, name in enumerate(JOINT_NAMES) if name.startswith("left")]
    assert [JOINT_NAMES[MIRROR[i]] for i in left] == [JOINT_NAMES[i].replace("left", "right") for i in left]
    assert [MIRROR[i] for i in MIRROR] == list(range(16))


def test_both_frames_of_a_pair_are_cut_with_the_box_of_the_first(fetched):
    sequences = find_sequences(fetched, ["S1"])
    pairs = PosePairs(sequences, gap=4, stride=1, size=48)
    assert len(pairs) == 2 * (NUMBER - 4)  # two cameras
    pair = pairs[1]
    assert (int(pair.video), int(pair.index)) == (0, 1)
    assert pair.frame.shape == pair.future.shape == (3, 48, 48)
    placement = pairs.placement(sequences[0], 1, (folders.SIDE, folders.SIDE))
    grey = torch.tensor((110.0, 105.0, 100.0))
    for image, i in ((pair.frame, 1), (pair.future, 5)):
        seen = placement.region.from_original_px(torch.from_numpy(sequences[0].points_px(i, (96, 96))))
        x, y = (((seen[9] + 1) * 48 - 1) / 2).round().int().tolist()  # the head
        assert (image[:, y, x].float() - grey).abs().max() > 50
    assert (pair.frame.float() - pair.future.float()).abs().mean() > 2  # the person walked on


def test_labels_are_in_the_square_and_absent_joints_say_so(fetched):
    sequence = find_sequences(fetched, ["S9"])[0]
    blind = dataclasses.replace(
        sequence,
        points_px=lambda i, size: np.where(np.arange(16)[:, None] == 4, np.nan, sequence.points_px(i, size)),
    )
    item = PoseImages([blind], 2, 64)[2]
    assert item.confidence[0].tolist() == [1.0] * 4 + [0.0] + [1.0] * 11
    assert not torch.isnan(item.points).any()
    x, y = (((item.points[0, 9] + 1) * 64 - 1) / 2).round().int().tolist()
    assert (item.image[:, y, x].float() - torch.tensor((200.0, 120.0, 135.0))).abs().max() < 60


# ---- the datamodule


def test_subjects_are_kept_apart(fetched):
    data = Human36M(str(fetched), size=32, gap=2, pair_stride=1, batch_size=3, val_fraction=0.5)
    data.setup()
    sides = {
        stage: {each.subject for each in data.datasets[stage].sequences} for stage in ("train", "val", "test")
    }
    assert sides["train"] | sides["val"] == {"S1", "S5"}
    assert sides["test"] == {"S9", "S11"}
    names = [{each.name for each in data.datasets[stage].sequences} for stage in ("train", "val")]
    assert not names[0] & names[1]
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, FramePairs)
    assert batch.frame.shape == (3, 3, 32, 32)
    assert batch.frame.dtype == torch.uint8
    assert next(iter(data.predict_dataloader())).image.shape == (3, 3, 32, 32)
    labelled = next(iter(data.poses("test", "Walking")))
    assert isinstance(labelled, LabelledImages)
    assert labelled.points.shape == (3, 1, 16, 2)
    assert len(data.poses("train", "Walking", stride=4).dataset) == 4


def served(root, method: type[KeypointMethod]):
    """The training data that a trainer of ``method`` gets."""
    data = Human36M(str(root), size=32, gap=2, pair_stride=2, val_fraction=0)
    data.trainer = SimpleNamespace(lightning_module=method)  # type: ignore[assignment]
    data.setup("fit")
    return data.datasets["train"]


def test_methods_of_labelled_images_get_the_joints(fetched):
    images, pairs = served(fetched, StackedHourglass), served(fetched, BKinD)
    assert isinstance(images, PoseImages)
    assert isinstance(pairs, PosePairs)
    assert len(images) == 2 * 2 * NUMBER / 2  # two subjects, two cameras, every second image
    sequence = images.sequences[0]
    placement = images.placement(sequence, 2, (folders.SIDE, folders.SIDE))
    wanted = placement.region.from_original_px(torch.from_numpy(sequence.points_px(2, (folders.SIDE,) * 2)))
    torch.testing.assert_close(images[1].points[0], wanted.float())


def test_pairs_of_images_that_were_cropped_one_by_one_are_told(tmp_path):
    root = folders.write_simplified(tmp_path, {("S1", "Waiting 1.54138969"): poses(NUMBER)})
    with pytest.warns(UserWarning, match=r"S1/Waiting 1.54138969 are cropped one by one .*background moves"):
        served(root, BKinD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(served(root, StackedHourglass)) == NUMBER / 2


def test_defaults_are_the_papers():
    data = Human36M()
    assert (data.size, data.gap, data.batch_size) == (128, 20, 36)
    assert data.train_subjects == TRAIN_SUBJECTS == ("S1", "S5", "S6", "S7", "S8")
    assert data.test_subjects == TEST_SUBJECTS == ("S9", "S11")
    assert data.activities == SIX_ACTIVITIES


def test_what_cannot_be_is_refused(fetched):
    with pytest.raises(ConfigurationError, match="S9 would be used for both training and test"):
        Human36M(train_subjects=["S1", "S9"])
    with pytest.raises(ConfigurationError, match="gap is 0"):
        Human36M(gap=0)
    with pytest.raises(DataError, match=r"has 6 images, but a pair needs two that are 20 apart"):
        Human36M(str(fetched)).setup("fit")


# ---- errors per activity


@dataclasses.dataclass(frozen=True)
class Weights:
    nothing: float = 1.0


class Reads(KeypointMethod):
    """Finds the joints that the first pixels tell; untrained (gain 0) every keypoint is at one place."""

    batch_type = LabelledImages
    weights_type = Weights

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.gain = torch.nn.Parameter(torch.zeros(()))

    def terms(self, batch: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    def heatmaps(self, image: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, image):
        from lightning_kp.keypoints import Keypoints

        told = image[:, :2, 0, :4].transpose(1, 2) * 2 - 1
        points = told * self.gain + 0.1
        return Keypoints(points.unsqueeze(1), torch.ones(len(image), 1, 4))


class Told:
    """Images whose first pixels tell four points; labels are these, right and left exchanged by ``flip``."""

    activities = ("Waiting", "Walking")
    mirror = (1, 0, 2, 3)

    def poses(self, side, activity, *, stride=1, as_seen=False):
        generator = torch.Generator().manual_seed(hash((side == "train", activity == "Walking")) % 1000)
        for _ in range(3):
            points = torch.rand(10, 4, 2, generator=generator) * 2 - 1
            image = torch.zeros(10, 3, 4, 4)
            image[:, :2, 0] = (points.transpose(1, 2) + 1) / 2
            wrong = activity == "Walking" and side == "test"
            labels = points[:, list(self.mirror)] if wrong else points
            yield LabelledImages(image, labels.unsqueeze(1), torch.ones(10, 1, 4))


def test_errors_per_activity(monkeypatch):
    monkeypatch.setattr("lightning_kp.scoring.activities.untrained_like", lambda *given: Reads())
    method = Reads()
    torch.nn.init.constant_(method.gain, 0.5)
    found = score_activities(method, Told(), Told.mirror)
    assert found.linear == pytest.approx({"Waiting": 0, "Walking": 0, "all": 0}, abs=12)
    assert found.linear["Walking"] < 0.5 * found.linear_on_the_body["Walking"]  # exchanged in the labels
    assert found.linear["Waiting"] == pytest.approx(found.linear_on_the_body["Waiting"], rel=0.05)
    assert found.linear["all"] == pytest.approx((found.linear["Waiting"] + found.linear["Walking"]) / 2)
    assert found.images == {"Waiting": 30, "Walking": 30, "all": 60}
    assert 20 < found.mean_pose["all"] < 50
    assert found.untrained["all"] > 3 * found.linear["all"]
    assert len({len(line) for line in found.lines()}) == 1
    assert found.as_metrics("x_")["x_activities_linear"] == found.linear


def test_named_joints_are_scored_as_they_are(monkeypatch):
    """The true points plus 0.1: no regressor takes part of the shift away, as for discovered keypoints."""
    monkeypatch.setattr("lightning_kp.scoring.activities.untrained_like", lambda *given: Reads())
    method = Reads()
    torch.nn.init.constant_(method.gain, 1.0)
    method.keypoint_names = ("a", "b", "c", "d")
    found = score_activities(method, Told(), Told.mirror, names=("a", "b", "c", "d"))
    assert found.linear["Waiting"] == pytest.approx(0.1 * 2**0.5 * 50, rel=1e-5)
    assert found.linear["Walking"] == pytest.approx(0.1 * 2**0.5 * 50, rel=1e-5)  # left and right exchanged
    others = score_activities(method, Told(), Told.mirror, names=("a", "b", "c", "e"))
    assert others.linear["Waiting"] < 0.85 * found.linear["Waiting"]
    assert found.mean_pose == others.mean_pose


def test_distances_by_hand():
    labelled = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    predicted = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 0.6]]])
    both = pose_distances(predicted, labelled, torch.ones(1, 3), (1, 0, 2))
    assert both[:, 0].tolist() == pytest.approx([(1 + 1 + 0.4) / 3 * 50, 0.4 / 3 * 50])
    without_third = pose_distances(predicted, labelled, torch.tensor([[1.0, 1.0, 0.0]]), (1, 0, 2))
    assert without_third[:, 0].tolist() == pytest.approx([50, 0])


def test_trained_and_scored_by_the_command(tmp_path, monkeypatch, capsys):
    """The whole way on a few images: every activity of the six, fit, score, figures kept."""
    monkeypatch.chdir(tmp_path)
    people = {
        (who, f"{what}-1"): poses(3, i) for i, what in enumerate(SIX_ACTIVITIES) for who in ("S1", "S9")
    }
    root = folders.write_fetched(tmp_path / "h36m", people)
    tiny = [
        "--model=BKinD", "--model.keypoints=4", "--model.encoder=tiny", "--model.pretrained=false",
        "--model.reconstruction=structural", "--model.pose_width=8", "--model.decoder_widths=[8,8,8]",
        "--model.variances=[0.1,0.03,0.005]", "--data=Human36M", f"--data.root={root}", "--data.size=32",
        "--data.gap=1", "--data.pair_stride=2", "--data.batch_size=4", "--trainer.max_epochs=1",
        "--trainer.accelerator=cpu", "--trainer.default_root_dir=run", "--trainer.limit_train_batches=2",
        "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    assert main(["fit", *tiny]) == 0
    assert main(["score", "run", "--human36m", str(root), "--stride", "2"]) == 0
    table = capsys.readouterr().out
    assert all(activity in table for activity in SIX_ACTIVITIES)
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (
        figures["activities_images"]["all"] == 6 * 2 * 2
    )  # activities, cameras, every second of three images
    assert 0 < figures["activities_linear"]["all"] < 100
    assert figures["activities_linear"]["all"] <= figures["activities_linear_on_the_body"]["all"]
    assert figures["activities"] == figures["activities_linear"]["all"]
    assert main(["trial", "--out=trial", f"--human36m={root}", "--stride=2", *tiny]) == 0
    told = json.loads((tmp_path / "trial" / "trial.json").read_text())
    assert told["state"] == "complete"
    assert told["figures"]["activities"] == pytest.approx(figures["activities"])  # the same seed and options
    assert main(["score", "run", "--human36m", str(tmp_path / "none")]) == 2
    assert "There is no folder" in capsys.readouterr().err
