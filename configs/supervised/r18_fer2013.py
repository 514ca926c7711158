"""Labeled images alone (lower reference): FER2013."""

_base_ = "../_base_/settings/r18_fer2013.py"
algorithm = "supervised"
