"""The pictures of a section: small panels, one per algorithm, side by side, and the curves of all algorithms in one."""

from ferbench.benchmark.report.pictures.classes import class_pictures
from ferbench.benchmark.report.pictures.confusion import confusion_pictures
from ferbench.benchmark.report.pictures.panel import Panel, Picture, figure_of
from ferbench.benchmark.report.pictures.validation import validation_pictures

__all__ = [
    "Panel",
    "Picture",
    "class_pictures",
    "confusion_pictures",
    "figure_of",
    "validation_pictures",
]
