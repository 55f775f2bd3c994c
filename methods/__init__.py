"""The methods of lightning_kp, one module each. Import them from ``lightning_kp.methods``."""

if __name__ != "lightning_kp.methods":
    # From the repository root this folder can be imported a second time, which would register each class twice.
    raise ImportError("Import lightning_kp.methods, not methods.")

from lightning_kp.methods.action_lstm import ActionLSTM as ActionLSTM
from lightning_kp.methods.anchor_classification import AnchorClassifier as AnchorClassifier
from lightning_kp.methods.behaviour import BehaviourClassifier as BehaviourClassifier
from lightning_kp.methods.bkind import BKinD as BKinD
from lightning_kp.methods.direct_pose import DirectPose as DirectPose
from lightning_kp.methods.hourglass import StackedHourglass as StackedHourglass
from lightning_kp.methods.keypoint_classifier import KeypointClassifier as KeypointClassifier
from lightning_kp.methods.linear_bridge import LinearBridge as LinearBridge
from lightning_kp.methods.lmpnet import LMPNet as LMPNet
from lightning_kp.methods.multi_instance_bkind import MultiInstanceBKinD as MultiInstanceBKinD
from lightning_kp.methods.multitask_discovery import MultiTaskDiscovery as MultiTaskDiscovery
from lightning_kp.methods.person_parser import PersonParser as PersonParser
from lightning_kp.methods.semi_multi_pose import SemiMultiPose as SemiMultiPose
from lightning_kp.methods.semi_supervised_bkind import SemiSupervisedBKinD as SemiSupervisedBKinD
from lightning_kp.methods.semi_supervised_bkind import SupervisedKeypoints as SupervisedKeypoints
from lightning_kp.methods.weak_discovery import WeakDiscovery as WeakDiscovery
