"""DTM's threshold, everything else as in FixMatch: ABAW5 EXPR."""

_base_ = "../_base_/settings/r50_abaw5.py"
algorithm = "dtm"
