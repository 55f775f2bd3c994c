"""Labelled frames of many animals, alone or beside unlabelled ones: honeybees, flies, any label file."""

from lightning_kp.group_module import GroupsAndUnlabelledModule, LabelledGroupsModule


class LabelledGroups(LabelledGroupsModule):
    """Frames of several animals, from SLEAP, DeepLabCut, COCO or Label Studio files or numpy archives.

    Without ``val_frames`` the test frames validate, as in the curves of 001, Figure 3: choose settings with
    ``val_frames``, then measure without.

    Args:
        labels: A label file (.slp, csv, COCO or Label Studio json, .npz, or .npz#PART), or several of them; relative
            paths are taken from ``root``.
        test_labels: Label files of the frames that test; by default ``test_frames`` are drawn from ``labels``.
        names: Points to use, in this order; by default all, in the file's order.
        at_most: Read so many frames of each file only, evenly thinned.
        test_frames: Frames of ``labels`` that test, where there are no ``test_labels``.
        val_frames: Further frames of ``labels`` that validate.
        train_frames: Train on so many of the others, drawn by ``seed``; by default all.
        pasted: Train on so many images instead that whole animals were laid on (001: 47; 0: on the frames themselves).
        pasted_animals: Animals laid on each (001: 10).
        batches: Batches in an epoch.
        size: Side of the square that the network sees, in pixels.
        fit: What becomes of images that are not square: ``pad``, ``crop`` or ``squash``.
        boxes: Crop before resizing: ``[left, top, right, bottom]`` in pixels.
        seed: Fixes what tests, what validates, what trains and the order of training.
        root: Folder that relative paths start from; images are looked for there too.
        batch_size: Frames in a batch (001: 3).
        num_workers: Processes that load; 0 is fast enough, since images are kept in memory.
    """


class GroupsAndUnlabelled(GroupsAndUnlabelledModule):
    """Labelled frames of several animals with unlabelled frames beside them in every batch (001, section 5).

    Labelled frames that are not trained on join the unlabelled ones, without their labels.

    Args:
        labels: As for LabelledGroups.
        unlabelled: Videos, globs or folders of images without labels; relative paths are taken from ``root``.
        unlabelled_frames: Read so many frames of each video or folder, evenly thinned.
        unlabelled_per_batch: Unlabelled frames in a batch (001 does not say; as many as labelled ones).
        test_labels: Label files of the frames that test; by default ``test_frames`` are drawn from ``labels``.
        names: Points to use, in this order; by default all, in the file's order.
        at_most: Read so many labelled frames of each file only, evenly thinned.
        test_frames: Frames of ``labels`` that test, where there are no ``test_labels``.
        val_frames: Further frames of ``labels`` that validate.
        train_frames: Train on so many of the others, drawn by ``seed``; by default all.
        pasted: Train on so many images instead that whole animals were laid on (001: 47; 0: on the frames themselves).
        pasted_animals: Animals laid on each (001: 10).
        batches: Batches in an epoch.
        size: Side of the square that the network sees, in pixels.
        fit: What becomes of images that are not square: ``pad``, ``crop`` or ``squash``.
        boxes: Crop before resizing: ``[left, top, right, bottom]`` in pixels.
        seed: Fixes what tests, what validates, what trains and the order of training.
        root: Folder that relative paths start from; images are looked for there too.
        batch_size: Labelled frames in a batch (001: 3).
        num_workers: Processes that load; 0 is fast enough, since images are kept in memory.
    """
