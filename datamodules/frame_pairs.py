"""Pairs of frames from any videos: training data of the methods that discover keypoints from motion."""

from lightning_kp.frames.pairs import FramePairsModule


class VideoFramePairs(FramePairsModule):
    """Pairs (t, t + gap) of frames from your own videos.

    Frames are decoded and resized once, into a cache on disk; later runs with the same settings start at once.
    Options: see :class:`lightning_kp.frames.pairs.FramePairsModule`.
    """
