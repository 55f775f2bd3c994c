"""Pairs of frames from any videos: what methods that discover keypoints from motion train on."""

from lightning_kp.frames.pairs import FramePairsModule


class VideoFramePairs(FramePairsModule):
    """Pairs (t, t + gap) of frames from your own videos.

    Frames are decoded and resized once, into a cache on disk; later runs with the same settings
    begin at once.

    Args:
        videos: Video files, globs in quotes, folders of videos, or folders of images; relative
            paths are taken from ``root``.
        size: Side of the square that the network sees, in pixels.
        fit: What becomes of frames that are not square: ``pad`` shows everything between black
            bars, ``crop`` cuts the longer side in the middle, ``squash`` stretches (as the
            reference code of B-KinD does).
        gap: Distance of the two frames: time (``0.2s``) or a number of frames (``6``).  The animal
            should move visibly within it.
        pair_stride: Use every n-th pair of each video.
        val_fraction: Share that validates and is never trained on; 0 for no validation.
        split: ``video`` holds out whole videos, ``time`` one block of each video, ``auto`` the
            first where there are at least 3 videos.
        boxes: Crop before resizing: ``[left, top, right, bottom]`` in pixels; ``follow``, a square that
            goes with the one animal of each video (also of those tracked later); or a csv file with the
            columns ``frame,left,top,right,bottom`` (and ``video``, if it serves several).  Where boxes
            move, both frames of a pair are cut out with the box of the first.
        preprocessing: Shadow removal (``shadow: hsv``, ``ssim`` or ``filter``) and registration of a
            moving camera (``registration: translation`` or ``similarity``); see
            :class:`lightning_kp.frames.preprocessing.Preprocessing`, and ``kp inspect --preview`` for a
            picture of what each does.  Kept in the checkpoint and applied ever after.
        cache_dir: Folder of the cache; by default the user's cache folder, or ``KP_CACHE_DIR``, where squares
            that follow and backgrounds (half a megabyte a video) are kept in any case.
        cache_gb: Bound on the cache.  Where all frames do not fit, pairs are kept evenly.
        seed: Fixes what validates and the order of training.
        root: Folder that relative paths start from.
        batch_size: Pairs in a batch.
        num_workers: Processes that load; 0 is fast enough, since pairs are read from the cache.
    """
