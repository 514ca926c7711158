"""DTM, full recipe (two weak views averaged, low-confidence term): ABAW5 EXPR."""

_base_ = "../_base_/settings/r50_abaw5.py"
algorithm = "dtm_full"
