"""A small CUB_200_2011 in the official layout."""

from pathlib import Path

from PIL import Image as Pictures

PARTS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape", "right eye",
    "right leg", "right wing", "tail", "throat",
)  # fmt: skip
CLASSES = {1: "001.Black_footed_Albatross", 4: "004.Groove_billed_Ani", 9: "009.Brewer_Blackbird"}
LEFT, RIGHT = PARTS.index("left eye"), PARTS.index("right eye")


def write_cub(folder: Path, *, birds: int = 4, size: int = 24) -> Path:
    """``birds`` images of each of three species, half of which train.

    Part k lies at (2 + k, 3 + k), half a pixel further for each bird.  Of each four birds the first shows all left
    parts, the second all right ones, the third both sides, and the fourth is a left one without a visible belly and
    tail.  ``part_locs.txt`` has x = y = 0 for what is not visible, as the official file does.
    """
    (folder / "parts").mkdir(parents=True)
    rows: dict[str, list[str]] = {name: [] for name in ("images", "labels", "split", "boxes", "parts")}
    number = 0
    for species, name in CLASSES.items():
        (folder / "images" / name).mkdir(parents=True)
        for bird in range(birds):
            number += 1
            file = f"{name}/bird_{bird}.jpg"
            Pictures.new("RGB", (size, size - 4), (60 * bird, species, 0)).save(folder / "images" / file)
            rows["images"].append(f"{number} {file}")
            rows["labels"].append(f"{number} {species}")
            rows["split"].append(f"{number} {int(bird % 4 < 2)}")
            rows["boxes"].append(f"{number} 2.0 4.0 {size / 2} {size / 4}")
            rows["parts"] += [_part(number, k, bird) for k in range(len(PARTS))]
    texts = {
        "images.txt": rows["images"], "image_class_labels.txt": rows["labels"], "train_test_split.txt": rows["split"],
        "bounding_boxes.txt": rows["boxes"], "parts/part_locs.txt": rows["parts"],
        "classes.txt": [f"{each} {name}" for each, name in CLASSES.items()],
        "parts/parts.txt": [f"{k} {name}" for k, name in enumerate(PARTS, start=1)],
    }  # fmt: skip
    for text, lines in texts.items():
        (folder / text).write_text("\n".join(lines) + "\n")
    return folder


def _part(number: int, k: int, bird: int) -> str:
    kind, name = bird % 4, PARTS[k]
    hidden = {
        0: "right eye" in name or "right wing" in name, 1: "left eye" in name or "left wing" in name, 2: False,
        3: "right eye" in name or name in ("belly", "tail"),
    }[kind]  # fmt: skip
    return (
        f"{number} {k + 1} 0.0 0.0 0"
        if hidden
        else f"{number} {k + 1} {2 + k + bird / 2} {3 + k + bird / 2} 1"
    )
