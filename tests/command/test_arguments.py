"""Arguments of the verbs: which are passed on to ``kp fit``, and mistakes in one line."""

import argparse

import pytest

from lightning_kp.command.arguments import VerbParser, fit_options, flattened, positive, share, split, typed
from lightning_kp.errors import ConfigurationError, nearest


def test_arguments_are_divided() -> None:
    own, rest = split(
        ["a.mp4", "--data.gap", "0.2s", "--out", "x", "--model=B", "--trainer.callbacks+=C", "b.mp4"]
    )
    assert own == ["a.mp4", "--out", "x", "b.mp4"]
    assert rest == ["--data.gap=0.2s", "--model=B", "--trainer.callbacks+=C"]
    assert typed(["--data.gap=3", "--data.init_args.gap=5"]) == {"data.gap": "5"}
    nested = {"data": {"class_path": "V", "init_args": {"gap": 3}}, "seed_everything": 0}
    assert flattened(nested) == {"data.class_path": "V", "data.gap": 3, "seed_everything": 0}


def test_mistakes_of_the_verbs_are_one_line() -> None:
    parser = VerbParser("try", "", passes_on=True)
    parser.add_argument("--frames", type=positive)
    parser.add_argument("video")
    for given, told in {
        "a.mp4 --frame=3": r"--frame=3 is not an option of kp try\. Did you mean --frames\?",
        "a.mp4 --modl.keypoints=3": r"Did you mean --model\.keypoints\?",
        "a.mp4 --zzzz": "`kp try --help` lists all",
        "--frames=3": "kp try: missing video",
        "a.mp4 --frames=0": "at least 1, got 0",
        "a.mp4 --frames=x": r"--frames: needs a whole number of at least 1, got x\.",
    }.items():
        with pytest.raises(ConfigurationError, match=told):
            parser.parse_args(given.split())


def test_a_suggestion_never_repeats_what_was_typed() -> None:
    parser = VerbParser("track", "")
    parser.add_argument("--formats")
    for given, told in {
        "--model.keypoints=3": "--model.keypoints=3 is not an option of kp track. It belongs to `kp fit` and",
        "--model": "--model is not an option of kp track. It belongs to `kp fit` and `kp discover`. `kp track --help`",
        "--trainer.max_epochs=3": "It belongs to `kp fit`",
        "--modl=x": "--modl=x is not an option of kp track. `kp track --help` lists all options.",
        "--format.x=csv": "--format.x=csv is not an option of kp track. Did you mean --formats?",
    }.items():
        with pytest.raises(ConfigurationError) as refused:
            parser.parse_args([given])
        assert told in str(refused.value)
        assert f"Did you mean {given.partition('=')[0]}?" not in str(refused.value)
    assert nearest("nose", ["nose", "tail"]) is None
    assert nearest("Nose", ["nose", "tail"]) == "nose"


def test_settings_become_options() -> None:
    settings = {"model.keypoints": 10, "data.gap": "0.3s", "data.boxes": [0, 0, 64, 64], "data.cache": None}
    assert fit_options(settings) == [
        "--model.keypoints=10", "--data.gap=0.3s", "--data.boxes=[0, 0, 64, 64]", "--data.cache=null",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["-0.1", "1.5", "half", "nan"])
def test_a_share_lies_between_0_and_1(text: str) -> None:
    assert share("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="needs a number from 0 to 1"):
        share(text)
