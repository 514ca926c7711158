"""DTM's threshold, everything else as in FixMatch: FER+."""

_base_ = "../_base_/settings/r18_ferplus.py"
algorithm = "dtm"
