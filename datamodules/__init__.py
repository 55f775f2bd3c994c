"""The datamodules of lightning_kp, one module each; imported as ``lightning_kp.datamodules``."""

if __name__ != "lightning_kp.datamodules":
    # From the repository root this folder is importable a second time, which would register each class twice.
    raise ImportError("Import lightning_kp.datamodules, not datamodules.")

from lightning_kp.datamodules.frame_pairs import VideoFramePairs as VideoFramePairs
from lightning_kp.datamodules.synthetic import SyntheticArena as SyntheticArena
