"""Frames with labelled points, alone or together with unlabelled pairs of frames."""

from lightning_kp.labels.bases import LabelledFramesModule, PairsAndLabelsModule


class LabelledFrames(LabelledFramesModule):
    """Labelled frames from SLEAP, DeepLabCut, Lightning Pose, COCO or Label Studio files.

    Points may be missing.  All problems of the files are listed before training starts.

    Args:
        labels: A label file (.slp, .pkg.slp, CollectedData csv or h5, COCO or Label Studio json), the folder of a
            DeepLabCut project, or a list of these; relative paths start from ``root``.
        size: Side of the square image that the network sees, in pixels.
        fit: How an image that is not square is made square: ``pad``, ``crop`` or ``squash``.
        boxes: Crop before resizing: ``[left, top, right, bottom]`` in pixels.
        names: Names of the points to use, in this order; by default all, in the file's order.
        rows: Labelled frames to use, numbered from 0 in the order of the files; by default all.
        val_fraction: Share of the frames held out for validation; 0 for no validation.
        train_frames: Number of the other frames to train on, drawn by ``seed``; by default all.  A smaller number
            selects a part of the frames of a larger one.
        repeats: How many times an epoch goes through the training frames.
        seed: Decides which frames validate and train, and the order of training.
        root: Folder where relative paths start; images are looked for there too.
        batch_size: Frames in a batch.
        num_workers: Processes that load data; 0 is fast enough, since images are kept in memory.
    """


class LabelledFramePairs(PairsAndLabelsModule):
    """Unlabelled pairs of frames from videos, with labelled frames in every batch.

    Args:
        videos: Video files, globs in quotes, folders of videos, or folders of images; relative paths start from
            ``root``.
        labels: A label file, the folder of a DeepLabCut project, or a list of these.
        names: Names of the labelled points to use, in this order; by default all, in the file's order.
        rows: Labelled frames to use, numbered from 0 in the order of the files; by default all.
        labelled_per_batch: Labelled frames in a batch; frames repeat if there are fewer.
        label_val_fraction: Share of the labelled frames held out for validation; 0 for none.
        train_frames: Number of the other labelled frames to train on, drawn by ``seed``; by default all.
        boxes: Crop before resizing, of videos and labelled images alike: ``[left, top, right, bottom]``.
        pairs: Other options as for :class:`lightning_kp.datamodules.VideoFramePairs`; ``preprocessing`` is applied to
            videos and labelled images, ``seed`` also decides which labelled frames validate and train, and
            ``batch_size`` counts pairs alone.
    """
