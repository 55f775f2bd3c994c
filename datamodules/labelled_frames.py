"""Frames with labelled points: alone, for supervision, or beside unlabelled pairs of frames."""

from lightning_kp.labels.bases import LabelledFramesModule, PairsAndLabelsModule


class LabelledFrames(LabelledFramesModule):
    """Labelled frames from SLEAP, DeepLabCut, Lightning Pose, COCO or Label Studio files.

    Points may be missing.  Everything that is wrong with the files is listed before training starts.

    Args:
        labels: A label file (.slp, .pkg.slp, CollectedData csv or h5, COCO or Label Studio json), the
            folder of a DeepLabCut project, or several of them; relative paths are taken from ``root``.
        size: Side of the square that the network sees, in pixels.
        fit: What becomes of images that are not square: ``pad``, ``crop`` or ``squash``.
        boxes: Crop before resizing: ``[left, top, right, bottom]`` in pixels.
        names: Points to use, in this order; by default all, in the file's order.
        rows: Use these labelled frames only, numbered from 0 in the files' order; by default all.
        val_fraction: Share of the frames that validates; 0 for no validation.
        train_frames: Train on so many of the others, drawn by ``seed``; by default all.  Those of a
            smaller number are among those of a larger one.
        repeats: How often an epoch goes through the training frames.
        seed: Fixes what validates, what trains and the order of training.
        root: Folder that relative paths start from; images are looked for there too.
        batch_size: Frames in a batch.
        num_workers: Processes that load; 0 is fast enough, since images are kept in memory.
    """


class LabelledFramePairs(PairsAndLabelsModule):
    """Unlabelled pairs of frames from videos, with labelled frames beside them in every batch.

    Args:
        videos: Video files, globs in quotes, folders of videos, or folders of images; relative
            paths are taken from ``root``.
        labels: A label file, the folder of a DeepLabCut project, or several of them.
        names: Labelled points to use, in this order; by default all, in the file's order.
        rows: Use these labelled frames only, numbered from 0 in the files' order; by default all.
        labelled_per_batch: Labelled frames in a batch, drawn again where there are fewer.
        label_val_fraction: Share of the labelled frames that validates; 0 for none.
        train_frames: Train on so many of the other labelled frames, drawn by ``seed``; by default all.
        size: Side of the square that the network sees, in pixels.
        fit: What becomes of frames that are not square: ``pad``, ``crop`` or ``squash``.
        gap: Distance of the two frames: time (``0.2s``) or a number of frames (``6``).
        pair_stride: Use every n-th pair of each video.
        val_fraction: Share of the pairs that validates; 0 for no validation.
        split: ``video`` holds out whole videos, ``time`` one block of each video, ``auto`` the
            first where there are at least 3 videos.
        boxes: Crop before resizing, videos and labelled images alike: ``[left, top, right, bottom]``.
        preprocessing: Shadow removal and registration, of both, as for ``VideoFramePairs``.
        cache_dir: Folder of the cache; by default the user's cache folder, or ``KP_CACHE_DIR``.
        cache_gb: Bound on the cache.
        seed: Fixes what validates, what trains and the order of training.
        root: Folder that relative paths start from.
        batch_size: Pairs in a batch.
        num_workers: Processes that load; 0 is fast enough, since pairs are read from the cache.
    """
