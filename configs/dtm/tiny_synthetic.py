"""DTM's threshold, everything else as in FixMatch: synthetic faces."""

_base_ = "../_base_/settings/tiny_synthetic.py"
algorithm = "dtm"
