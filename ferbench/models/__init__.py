"""Networks: the classifier (backbone + head), the backbones, and the loading of local weight files."""

from ferbench.contracts import Output
from ferbench.core.heads import ParallelHeads, ProjectionHead
from ferbench.models.classifier import Classifier
from ferbench.models.dlib_resnet import DlibResNet
from ferbench.models.heads import LinearHead
from ferbench.models.iresnet import IResNet
from ferbench.models.mmpretrain_backbone import MMPretrainBackbone
from ferbench.models.timm_backbone import TimmBackbone
from ferbench.models.weights import LoadedWeights, load_weights

__all__ = [
    "Classifier",
    "DlibResNet",
    "IResNet",
    "LinearHead",
    "LoadedWeights",
    "MMPretrainBackbone",
    "Output",
    "ParallelHeads",
    "ProjectionHead",
    "TimmBackbone",
    "load_weights",
]
