"""Labelled frames of many animals, alone or beside unlabelled ones: honeybees, flies, any label file."""

from lightning_kp.labels.group_bases import GroupsAndUnlabelledModule, LabelledGroupsModule


class LabelledGroups(LabelledGroupsModule):
    """Frames of several animals, from SLEAP, DeepLabCut, COCO or Label Studio files or numpy archives.

    Without ``val_frames`` the test frames validate, as in the curves of 001, Figure 3: choose settings with
    ``val_frames``, then measure without.
    """


class GroupsAndUnlabelled(GroupsAndUnlabelledModule):
    """Labelled frames of several animals with unlabelled frames beside them in every batch (001, section 5).

    Labelled frames that are not trained on join the unlabelled ones, without their labels.

    Args:
        labels: As for LabelledGroups.
        unlabelled: Videos, globs or folders of images without labels; relative paths are taken from ``root``.
        unlabelled_frames: Read so many frames of each video or folder, evenly thinned.
        unlabelled_per_batch: Unlabelled frames in a batch (001 does not say; as many as labelled ones).
        groups: As for LabelledGroups; ``batch_size`` counts labelled frames alone.
    """
