"""Labelled frames of many animals, alone or together with unlabelled frames: honeybees, flies, any label file."""

from lightning_kp.labels.group_bases import GroupsAndUnlabelledModule, LabelledGroupsModule


class LabelledGroups(LabelledGroupsModule):
    """Frames of several animals, from SLEAP, DeepLabCut, COCO or Label Studio files or numpy archives.

    Without ``val_frames``, the test frames also validate, as in the curves of 001, Figure 3.  Choose settings with
    ``val_frames``, then measure the final error without them.
    """


class GroupsAndUnlabelled(GroupsAndUnlabelledModule):
    """Labelled frames of several animals, with unlabelled frames in every batch (001, section 5).

    Labelled frames that are not used for training join the unlabelled ones, without their labels.

    Args:
        labels: As for LabelledGroups.
        unlabelled: Videos, globs or folders of images without labels; relative paths start from ``root``.
        unlabelled_frames: Read at most this many frames of each video or folder, evenly thinned.
        unlabelled_per_batch: Unlabelled frames in a batch (not given in 001; ours: as many as labelled ones).
        groups: Other options as for LabelledGroups; ``batch_size`` counts labelled frames alone.
    """
