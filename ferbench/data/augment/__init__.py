"""Image transforms on uint8 RGB arrays; all randomness comes in as uniforms (see `base.Transform`)."""

from ferbench.data.augment.base import GREY, Transform
from ferbench.data.augment.color import RandomGrayscale
from ferbench.data.augment.geometric import Cutout, HorizontalFlip, PadCrop, RandomCrop, Resize, resize
from ferbench.data.augment.randaugment import OPERATIONS, RandAugment

__all__ = [
    "GREY",
    "OPERATIONS",
    "Cutout",
    "HorizontalFlip",
    "PadCrop",
    "RandAugment",
    "RandomCrop",
    "RandomGrayscale",
    "Resize",
    "Transform",
    "resize",
]
