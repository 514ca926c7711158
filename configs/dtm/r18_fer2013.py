"""DTM's threshold, everything else as in FixMatch: FER2013."""

_base_ = "../_base_/settings/r18_fer2013.py"
algorithm = "dtm"
