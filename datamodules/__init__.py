"""The datamodules of lightning_kp, one module each; imported as ``lightning_kp.datamodules``."""

if __name__ != "lightning_kp.datamodules":
    # From the repository's root, this folder could be imported a second time, which would register each class twice.
    raise ImportError("Import lightning_kp.datamodules, not datamodules.")

from lightning_kp.datamodules.calms21 import CalMS21 as CalMS21
from lightning_kp.datamodules.classified_images import CIFAR as CIFAR
from lightning_kp.datamodules.classified_images import ClassFolders as ClassFolders
from lightning_kp.datamodules.coco_crowd import COCOCrowd as COCOCrowd
from lightning_kp.datamodules.cub import CUB as CUB
from lightning_kp.datamodules.flyvsfly import FlyVsFly as FlyVsFly
from lightning_kp.datamodules.frame_pairs import VideoFramePairs as VideoFramePairs
from lightning_kp.datamodules.human36m import Human36M as Human36M
from lightning_kp.datamodules.idx_images import IdxImages as IdxImages
from lightning_kp.datamodules.image_set import ImageSet as ImageSet
from lightning_kp.datamodules.immediacy import Immediacy as Immediacy
from lightning_kp.datamodules.labelled_frames import LabelledFramePairs as LabelledFramePairs
from lightning_kp.datamodules.labelled_frames import LabelledFrames as LabelledFrames
from lightning_kp.datamodules.labelled_groups import GroupsAndUnlabelled as GroupsAndUnlabelled
from lightning_kp.datamodules.labelled_groups import LabelledGroups as LabelledGroups
from lightning_kp.datamodules.lsp import LSP as LSP
from lightning_kp.datamodules.mpii import MPII as MPII
from lightning_kp.datamodules.pose_actions import PoseActions as PoseActions
from lightning_kp.datamodules.synthetic import SyntheticArena as SyntheticArena
from lightning_kp.datamodules.synthetic_crowd import SyntheticCrowd as SyntheticCrowd
from lightning_kp.datamodules.tracked_behaviour import TrackedBehaviour as TrackedBehaviour
