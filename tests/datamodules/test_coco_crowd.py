"""COCO-style files as crowds: tiny files of ours, the derived file, and the real samples."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from lightning_kp.batches import CrowdImages
from lightning_kp.cli import main
from lightning_kp.datamodules import COCOCrowd, Immediacy
from lightning_kp.datamodules.immediacy import NAMES as UPPER_BODY
from lightning_kp.errors import ConfigurationError, DataError
from lightning_kp.keypoints import Keypoints
from lightning_kp.methods.person_parser import PersonParser
from lightning_kp.metrics.crowds import CrowdScores
from lightning_kp.people.coco import derived, read_people
from lightning_kp.skeleton import mirror_from_names

POINTS = ["nose", "left_hand", "right_hand"]


def annotation(
    number: int, image: int, box: list[float], labelled: bool = True, **more: Any
) -> dict[str, Any]:
    left, top, width, height = box
    seen = 2 if labelled else 0
    keypoints = [left, top, seen, left + width, top + height, seen, 0, 0, 0]
    facts = {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": box,
        "area": width * height,
        "iscrowd": 0,
    }
    return facts | {"keypoints": keypoints, "num_keypoints": 2 * labelled} | more


def write(folder: Path, names: list[str] = POINTS) -> Path:
    """Image 1: a pair, a lonely person and an unlabelled one; image 2: three in a chain; image 3: nobody."""
    people = [
        annotation(1, 1, [10, 10, 20, 30]), annotation(2, 1, [20, 10, 20, 30]), annotation(3, 1, [70, 5, 8, 8]),
        annotation(4, 1, [30, 20, 20, 20], labelled=False),
        annotation(5, 2, [0, 0, 20, 20]), annotation(6, 2, [10, 0, 20, 20]), annotation(7, 2, [20, 0, 20, 20]),
        annotation(8, 2, [0, 0, 70, 50], iscrowd=1),
    ]  # fmt: skip
    images = [{"id": n, "file_name": f"{n}.png", "width": 80, "height": 60} for n in (1, 2, 3)]
    for image in images:
        Image.new("RGB", (80, 60), (10 * image["id"], 0, 0)).save(folder / image["file_name"])
    file = folder / "people.json"
    category = {"id": 1, "name": "person", "keypoints": names}
    file.write_text(json.dumps({"images": images, "annotations": people, "categories": [category]}))
    return file


def test_crowds_of_a_file_by_hand(tmp_path: Path) -> None:
    people = read_people(write(tmp_path))
    assert people.names == tuple(POINTS)
    first, second = people.crowds()
    assert first.box == (10, 10, 30, 30)
    assert [each.facts["id"] for each in first.people] == [1, 2]
    assert [each.facts["id"] for each in first.others] == [3, 4]
    assert [each.facts["id"] for each in second.people] == [5, 6, 7]
    assert [each.facts["id"] for each in second.others] == [8]  # a region full of people is nobody
    np.testing.assert_array_equal(first.people[0].points, [[10, 10], [30, 40], [np.nan, np.nan]])


def test_left_and_right_are_told_from_names() -> None:
    assert mirror_from_names(["nose", "left_eye", "right_eye", "head"]) == (0, 2, 1, 3)
    assert mirror_from_names(["Tail", "RAnt", "LAnt"]) == (0, 2, 1)
    assert mirror_from_names(["leftear", "tail", "rightear"]) == (2, 1, 0)
    assert mirror_from_names(["left_only", "Leg"]) == (0, 1)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("l_eye", "r_eye"), ("eye_L", "eye_R"), ("earL", "earR"), ("wing.L", "wing.R"), ("LEFT_EAR", "RIGHT_EAR"),
        ("L-wing", "R-wing"), ("forelegL4", "forelegR4"), ("LeftEar", "RightEar"), ("LEye", "REye"),
        ("L eye", "R eye"), ("l1", "r1"),
    ],
)  # fmt: skip
def test_usual_names_of_left_and_right(left: str, right: str) -> None:
    assert mirror_from_names(["tail", left, right]) == (0, 2, 1)


def test_letters_within_words_are_no_sides() -> None:
    assert mirror_from_names(["tail", "tair", "Lip", "Rip", "elbow", "erbow", "bright", "bleft2"]) == tuple(
        range(8)
    )


def test_the_derived_file_holds_the_same_crowds(tmp_path: Path) -> None:
    people = read_people(write(tmp_path))
    crowds = people.crowds()
    file = tmp_path / "derived.json"
    file.write_text(json.dumps(derived(people, crowds)))
    again = read_people(file).crowds()
    assert len(again) == len(crowds)
    for old, new in zip(crowds, again, strict=True):
        assert new.box == old.box
        for mine, theirs in ((old.people, new.people), (old.others, new.others)):
            assert [each.box for each in mine] == [each.box for each in theirs]
        np.testing.assert_array_equal(new.scene.read(), old.scene.read())
    content = json.loads(file.read_text())
    assert [each["original_id"] for each in content["images"]] == [1, 2]
    assert len({each["id"] for each in content["annotations"]}) == 8


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "crowds.json"
    assert main(["crowds", str(write(tmp_path)), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2 crowds with 5 instances." in printed
    assert out.with_suffix(".md").read_text().strip() in printed
    assert out.with_suffix(".png").stat().st_size > 1000
    assert len(read_people(out).crowds()) == 2
    assert main(["crowds", str(tmp_path / "people.json"), "--out", str(out), "--most", "2"]) == 0
    assert len(read_people(out).crowds()) == 1
    assert main(["crowds", str(tmp_path / "people.json"), "--overlap", "0.9"]) == 2
    assert "has no crowds. Lower --overlap" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--most", "0"], "--most needs a whole number of at least 2; 0 was given."),
        (["--most", "1"], "--most needs a whole number of at least 2; 1 was given."),
        (["--overlap", "0.9"], "has no crowds. Lower --overlap (now 0.9)"),
    ],
)
def test_the_command_says_which_option_leaves_no_crowd(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["crowds", str(write(tmp_path)), "--out", str(tmp_path / "crowds.json"), *options]) == 2
    assert said in capsys.readouterr().err


def test_crowds_all_larger_than_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path)
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"images": content["images"][1:]}))
    assert main(["crowds", str(file), "--most", "2"]) == 2
    assert "has 1 crowd(s), but all of more than 2 people. Raise --most." in capsys.readouterr().err
    with pytest.raises(DataError, match=r"Raise --data\.most"):
        COCOCrowd(test=file.name, most=2, root=str(tmp_path)).setup()
    with pytest.raises(ConfigurationError, match="most is 0"):
        COCOCrowd(test=file.name, most=0)


def test_a_derived_file_keeps_its_overlap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "crowds.json"
    assert main(["crowds", str(write(tmp_path)), "--out", str(out), "--overlap", "0.2"]) == 0
    assert main(["crowds", str(out), "--out", str(tmp_path / "again.json"), "--overlap", "0.5"]) == 2
    assert (
        "was written by kp crowds and holds crowds already. Give the original file."
        in capsys.readouterr().err
    )
    for overlap in (0.1, 0.2):  # the default stands for the file's own
        COCOCrowd(test=out.name, overlap=overlap, root=str(tmp_path)).setup()
    with pytest.raises(ConfigurationError, match=r"overlap of 0\.5 was given, .* with an overlap of 0\.2"):
        COCOCrowd(test=out.name, overlap=0.5, root=str(tmp_path)).setup()


def test_an_archive_of_points_becomes_crowds(tmp_path: Path) -> None:
    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    points = np.full((1, 3, 2, 2), np.nan)
    points[0, 0], points[0, 1, 0] = [[10, 10], [30, 10]], [20, 10]
    names = np.array(["head", "tail"])
    np.savez(
        tmp_path / "x.npz",
        points=points,
        path=np.array(["a.png"]),
        node_names=names,
        split=np.array(["train"]),
    )
    with pytest.raises(DataError, match=r"^\S+x\.npz has no part bla\. Its parts are: train\.$"):
        read_people(f"{tmp_path / 'x.npz'}#bla")
    scene = read_people(f"{tmp_path / 'x.npz'}#train").scenes[0]
    assert scene.size == (60, 80)
    assert [person.box for person in scene.people] == [(8, 8, 24, 4), (20, 10, 0, 0)]
    assert np.isnan(scene.people[1].points[1]).all()


def test_the_datamodule(tmp_path: Path) -> None:
    write(tmp_path)
    data = COCOCrowd(train="people.json", val="people.json", size=32, batch_size=2, root=str(tmp_path))
    data.setup()
    assert data.part_names == tuple(POINTS)
    assert data.mirror == (0, 2, 1)
    assert {name: len(each) for name, each in data.datasets.items()} == {  # type: ignore[arg-type]
        "train": 2, "val": 1, "test": 1, "predict": 1,
    }  # fmt: skip
    batch = next(iter(data.train_dataloader()))
    assert batch.image.shape == (2, 3, 32, 32)
    assert not batch.counts.all()
    two = next(iter(data.loader("train")))
    torch.testing.assert_close(two.side, two.side.clamp(0.7 * 30, 1.6 * 40))
    frames = next(iter(data.predict_dataloader()))
    assert frames.image.shape == (1, 3, 32, 32)


def test_regions_that_are_moved_are_scored_where_they_are(tmp_path: Path) -> None:
    """Whoever answers as on the regions themselves is wrong on moved ones, and right who follows them."""
    write(tmp_path)

    def batch(jitter_px: float) -> CrowdImages:
        data = COCOCrowd(
            test="people.json", size=32, batch_size=2, jitter_px=jitter_px, root=str(tmp_path), seed=1
        )
        data.setup()
        return next(iter(data.test_dataloader()))  # type: ignore[no-any-return]

    def precision(found: CrowdImages, wanted: CrowdImages) -> float:
        scores = CrowdScores([0.05] * 3)
        scores.add(Keypoints(found.points, found.confidence), wanted)
        return float(scores.compute()["AP"])

    still, moved = batch(0.0), batch(6.0)
    assert precision(still, still) == precision(moved, moved) == 1
    assert precision(still, moved) < 0.9


def test_two_readings_leave_their_figures_beside_each_other(tmp_path: Path) -> None:
    write(tmp_path)
    given = [
        "--model=PersonParser", f"--model.names=[{','.join(POINTS)}]", "--model.encoder=tiny", "--model.width=8",
        "--model.pretrained=false", "--model.instances=3", "--data=COCOCrowd", "--data.train=people.json",
        "--data.test=people.json", f"--data.root={tmp_path}", "--data.size=32", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
    ]  # fmt: skip
    run = tmp_path / "run"
    assert main(["fit", *given, "--trainer.max_steps=1", f"--trainer.default_root_dir={run}"]) == 0
    assert main(["test", *given, f"--ckpt_path={run}"]) == 0
    usual = json.loads((run / "metrics.json").read_text())
    assert {"test/AP", "test/count_off", "test/loss"} <= usual.keys()
    assert (usual["test/decode"], usual["test/stop"]) == ("sequence", 0.05)
    told = (run / "crowd.md").read_text()
    other = ["--model.decode=peaks", "--data.jitter_px=4"]
    assert main(["test", *given, *other, f"--ckpt_path={run}"]) == 0
    both = json.loads((run / "metrics.json").read_text())
    assert {name: both[name] for name in usual} == usual
    assert both.keys() - usual.keys() == {
        name.replace("test/", "test-peaks-jitter4/") for name in usual if name.startswith("test/")
    }
    assert (run / "crowd.md").read_text() == told
    assert (run / "crowd-peaks-jitter4.md").is_file()


def test_sides_that_no_name_tells_are_given(tmp_path: Path) -> None:
    write(tmp_path, names=["nose", "hand1", "hand2"])

    def parser(data: COCOCrowd) -> PersonParser:
        method = PersonParser(
            ["nose", "hand1", "hand2"], instances=2, encoder="tiny", pretrained=False, width=8
        )
        method.trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
        method.trainer.datamodule = data  # type: ignore[attr-defined]
        method.setup("fit")
        return method

    told, untold = (
        COCOCrowd(train="people.json", size=32, root=str(tmp_path), mirror=mirror)
        for mirror in ([0, 2, 1], None)
    )
    for data in (told, untold):
        data.setup()
    assert parser(told).mirror.tolist() == [0, 2, 1]
    assert told.datasets["train"].crowds[0].mirror == (0, 2, 1)
    with pytest.warns(UserWarning, match="is known as the mirror image"):
        assert parser(untold).mirror.tolist() == [0, 1, 2]
    with pytest.raises(ConfigurationError, match="does not pair 3 keypoints"):
        COCOCrowd(train="people.json", size=32, root=str(tmp_path), mirror=[1, 2, 0]).setup()


def test_the_boxes_of_who_need_not_be_found_come_along(tmp_path: Path) -> None:
    """Image 1: a lonely person and an unlabelled one, as far as the square around the pair shows them."""
    write(tmp_path)
    data = COCOCrowd(test="people.json", size=30, batch_size=1, root=str(tmp_path))
    data.setup()
    item = next(iter(data.test_dataloader()))
    # The square of 30 px begins at (10, 10); the unlabelled one's box is (30, 20) to (50, 40).
    assert item.others.shape == (1, 1, 4)
    torch.testing.assert_close(
        (item.others[0, 0] + 1) / 2 * 30, torch.tensor([20.0, 10, 40, 30]), atol=1e-4, rtol=0
    )


def test_a_point_lies_where_the_file_says(tmp_path: Path) -> None:
    write(tmp_path)
    data = COCOCrowd(test="people.json", size=30, batch_size=1, root=str(tmp_path))
    data.setup()
    batch = next(iter(data.test_dataloader()))
    # The region is 30 x 30 from (10, 10): the pixel (10, 10) has its centre half a pixel inside.
    torch.testing.assert_close(batch.points[0, 0, 0], torch.tensor([0.5, 0.5]) / 15 - 1)
    assert batch.confidence[0].tolist() == [[1, 1, 0], [1, 1, 0]]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    file = write(tmp_path)
    with pytest.raises(ConfigurationError, match="No keypoint file"):
        COCOCrowd()
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match=r"1 image\(s\) of people.json are missing: 1.png"):
        COCOCrowd(train="people.json", root=str(tmp_path)).setup()
    wrong = json.loads(file.read_text())
    wrong["annotations"][0]["keypoints"] = [1, 2, 2]
    file.write_text(json.dumps(wrong))
    with pytest.raises(DataError, match="annotation 1 has 1 keypoints, its category 3"):
        read_people(file)
    file.write_text("{}")
    with pytest.raises(DataError, match="not a COCO keypoint file"):
        read_people(file)


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("images", {"id": None}, r"people\.json: images, entry 0, key id: None"),
        ("images", {"file_name": 3}, "images, entry 0, key file_name: 3"),
        (
            "images",
            {"height": None, "file_name": "9.png"},
            r"image 1 has no height and width, and 9\.png",
        ),
        ("annotations", {"image_id": []}, r"annotations, entry 0, key image_id: \[\]"),
        ("annotations", {"keypoints": "abc"}, "annotation 1 has keypoints abc"),
        ("annotations", {"keypoints": [[1, 2, 2]] * 3}, r"annotation 1 has keypoints \[\[1"),
        ("annotations", {"bbox": [1, 2, 3]}, r"annotation 1 has bbox \[1\.0, 2\.0, 3\.0\]"),
        ("annotations", {"area": "wide"}, "annotation 1 has bbox .* and area wide"),
        ("annotations", {"area": float("nan")}, "annotation 1 has bbox .* and area nan"),
        (
            "annotations",
            {"segmentation": {"counts": [True], "size": [60, 80]}},
            "annotation 1 has segmentation",
        ),
        ("annotations", {"segmentation": {"counts": "abc", "size": [60, 80]}}, r"annotation 1 .*malformed"),
        (
            "annotations",
            {"segmentation": {"counts": "04", "size": [60, 80]}},
            "annotation 1 has run lengths for an image of",
        ),
        ("annotations", {"area": -4}, "annotation 1 has bbox .* and area -4"),
        ("annotations", {"bbox": [30, 40, -20, 30]}, r"annotation 1 has bbox \[30\.0"),
        ("annotations", {"segmentation": "abc"}, "annotation 1 has segmentation abc"),
        ("annotations", {"segmentation": [1, 2]}, r"annotation 1 has segmentation \[1, 2\]"),
        ("annotations", {"segmentation": [[1, 2, 3]]}, "annotation 1 has segmentation"),
        ("annotations", {"segmentation": {"counts": [1]}}, "annotation 1 has segmentation"),
        (
            "annotations",
            {"segmentation": {"counts": "04", "size": [6, 8]}},
            "run lengths for an image of 8x6; 1.png is 80x60",
        ),
        (
            "annotations",
            {"segmentation": {"counts": [5, 5], "size": [60, 80]}},
            "run lengths of 10 pixels for an image of 80x60; 1.png is 80x60",
        ),
        ("images", {"width": 8, "height": 6}, r"3 of 6 labelled people lie outside .*annotation"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, part: str, change: dict[str, Any], said: str) -> None:
    file = write(tmp_path)
    content = json.loads(file.read_text())
    content[part][0] |= change
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=said):
        read_people(file)


def changed(file: Path, change: Any) -> None:
    """Rewrite the file with ``change`` applied to every annotation."""
    content = json.loads(file.read_text())
    for each in content["annotations"]:
        change(each)
    file.write_text(json.dumps(content))


def test_polygons_without_an_area_are_left_out(tmp_path: Path) -> None:
    file = write(tmp_path)
    square = [10, 10, 30, 10, 30, 30]
    changed(file, lambda each: each.update(segmentation=[[1, 2], square] if each["id"] == 1 else [[1, 2]]))
    outlines = [person.outline for scene in read_people(file).scenes for person in scene.people]
    assert outlines[0] == [square]
    assert set(map(str, outlines[1:])) == {"None"}
    data = COCOCrowd(test="people.json", size=32, root=str(tmp_path))
    data.setup()
    assert len(next(iter(data.test_dataloader())).image)


def test_shares_in_place_of_pixels_are_told(tmp_path: Path) -> None:
    file = write(tmp_path)

    def share(each: dict[str, Any]) -> None:
        for key, step in (("keypoints", 3), ("bbox", 2)):
            each[key] = [v / 100 if k % step < 2 else v for k, v in enumerate(each[key])]

    changed(file, share)
    with pytest.raises(DataError, match="between 0 and 1, so they seem to be shares of the image"):
        read_people(file)


def test_a_slip_is_told_and_left_in(tmp_path: Path) -> None:
    file = write(tmp_path)
    content = json.loads(file.read_text())
    more = [annotation(100 + n, 3, [5, 5, 20, 20]) for n in range(40)]
    more[3]["keypoints"][:6] = [300, 400, 2, 310, 400, 2]
    file.write_text(json.dumps(content | {"annotations": content["annotations"] + more}))
    with pytest.warns(
        UserWarning, match=r"1 of 46 labelled people lie outside .*annotation 103, .*\(300, 400\)"
    ):
        assert len(read_people(file).scenes) == 3


def test_other_pictures_than_those_that_were_labelled(tmp_path: Path) -> None:
    write(tmp_path)
    Image.new("RGB", (40, 30)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    with pytest.raises(
        DataError, match=r"2 image\(s\) of people.json .*1.png is 40x30, but 80x60.*2.png cannot"
    ):
        COCOCrowd(train="people.json", size=32, root=str(tmp_path)).setup()


def test_entries_that_lack_a_key_are_named(tmp_path: Path) -> None:
    file = write(tmp_path)
    content = json.loads(file.read_text())
    for part, key in (("images", "id"), ("images", "file_name"), ("annotations", "image_id")):
        entry = {name: value for name, value in content[part][0].items() if name != key}
        file.write_text(json.dumps(content | {part: [entry, *content[part][1:]]}))
        with pytest.raises(DataError, match=f"{part}, entry 0, key {key}: missing"):
            read_people(file)
    file.write_text(json.dumps(content | {"images": ["1.png"]}))
    with pytest.raises(DataError, match=r"images, entry 0, key id: missing in '1\.png'"):
        read_people(file)


def test_sizes_that_a_file_leaves_out_are_read_from_the_pictures(tmp_path: Path) -> None:
    file = write(tmp_path)
    content = json.loads(file.read_text())
    content["images"] = [{"id": each["id"], "file_name": each["file_name"]} for each in content["images"]]
    file.write_text(json.dumps(content))
    assert [scene.size for scene in read_people(file).scenes] == [(60, 80)] * 3


def test_immediacy_holds_pictures_out(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    content = json.loads(write(tmp_path / "images").read_text())
    content["categories"][0]["keypoints"] = list(UPPER_BODY)
    for each in content["annotations"]:
        each["keypoints"] += [0] * 27
    for name in ("train", "test"):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    data = Immediacy(val_images=1, size=16, root=str(tmp_path), batch_size=1)
    data.setup()
    assert [len(data.datasets[name]) for name in ("train", "val", "test")] == [1, 1, 2]  # type: ignore[arg-type]
    batch = next(iter(data.test_dataloader()))
    assert batch.points.shape == (1, 3, 12, 2)  # the unlabelled person is masked
    assert batch.side.item() == 80
    assert data.mirror == (0, 1, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10)
    with pytest.raises(DataError, match="val_images is 3, but 1 or more of the 2 training images must train"):
        Immediacy(val_images=3, root=str(tmp_path)).setup()


# Real samples


@pytest.mark.parametrize(
    ("file", "keypoints", "people"),
    [
        ("coco/test_coco.json", 17, [2, 2]),
        ("crowdpose/test_crowdpose.json", 14, [2, 2]),
        ("ochuman/test_ochuman.json", 17, [2, 2]),
    ],
)
def test_real_files(kp_data: Path, file: str, keypoints: int, people: list[int]) -> None:
    path = kp_data / "format_samples" / file
    data = COCOCrowd(test=path.name, size=128, batch_size=2, root=str(path.parent))
    data.setup()
    batch = next(iter(data.test_dataloader()))
    assert len(data.part_names) == keypoints
    assert (batch.confidence > 0).any(dim=-1).sum(dim=1).tolist() == people
    labelled = batch.confidence > 0
    assert (batch.points[labelled].abs() <= 1.1).all()
    assert (batch.area[:, 0] > 500).all()
    assert batch.image.float().std() > 20
