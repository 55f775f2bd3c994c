"""Every registered method, with settings that keep its test short and off the network."""

import inspect
from typing import Any

from lightning_kp import methods
from lightning_kp.method import Method

SIZE, KEYPOINTS = 32, 2
METHODS: dict[str, type[Method]] = {
    name: kind for name, kind in vars(methods).items() if inspect.isclass(kind) and issubclass(kind, Method)
}
NAMES = ["nose", "tail"]

# Small networks for each method: what keeps its test short and off the network.
BKIND: dict[str, Any] = {
    "keypoints": KEYPOINTS, "encoder": "tiny", "pretrained": False, "reconstruction": "structural",
    "pose_width": 8, "decoder_widths": (8, 8, 4), "variances": (0.1, 0.05, 0.02),
}  # fmt: skip
DIRECT_POSE: dict[str, Any] = {
    "names": NAMES, "instances": 3, "encoder": "tiny", "pretrained": False, "stride": 4, "width": 8,
    "convolutions": 1, "each": 4,
}  # fmt: skip


SETTINGS: dict[str, dict[str, Any]] = {
    "ActionLSTM": {"features": 5, "classes": ["rest", "run"], "hidden": 4},
    "AnchorClassifier": {"network": "cifar_resnet8", "classes": ["rest", "run"]},
    "BehaviourClassifier": {
        "features": 5,
        "length": 20,
        "behaviours": ["rest", "run"],
        "widths": [4, 4],
        "kernel": 3,
    },
    "BKinD": BKIND,
    "DirectPose": DIRECT_POSE,
    "KeypointClassifier": {
        "discovered": "lightning_kp.methods.bkind.BKinD",
        "settings": BKIND,
        "keypoints": KEYPOINTS,
        "classes": ["rest", "run"],
        "width": 4,
    },
    "LinearBridge": {
        "names": NAMES,
        "discovered": "lightning_kp.methods.bkind.BKinD",
        "settings": BKIND,
        "keypoints": KEYPOINTS,
    },
    "LMPNet": {
        "keypoints": KEYPOINTS,
        "encoder": "tiny",
        "pretrained": False,
        "stride": 8,
        "classes": ["rest", "run"],
        "threshold": 1.0,
    },
    "MultiInstanceBKinD": {**BKIND, "instances": 3},
    "MultiTaskDiscovery": {"keypoints": KEYPOINTS},
    "PersonParser": {
        "names": NAMES,
        "instances": 3,
        "encoder": "tiny",
        "pretrained": False,
        "width": 8,
        "hidden": 4,
    },
    "SemiMultiPose": DIRECT_POSE,
    "SemiSupervisedBKinD": {**BKIND, "names": NAMES, "keypoints": 3},
    "StackedHourglass": {"names": NAMES, "stacks": 2, "width": 8, "depth": 2},
    "SupervisedKeypoints": {"names": NAMES, "encoder": "tiny", "pretrained": False, "pose_width": 8},
    "WeakDiscovery": {**BKIND, "class_keypoints": 1, "class_width": 4, "classes": ["rest", "run"]},
}


def build(name: str) -> Method:
    return METHODS[name](**SETTINGS[name])
