"""Labeled images alone (lower reference): synthetic faces."""

_base_ = "../_base_/settings/tiny_synthetic.py"
algorithm = "supervised"
