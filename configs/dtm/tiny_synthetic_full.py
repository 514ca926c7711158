"""DTM, full recipe (two weak views averaged, low-confidence term): synthetic faces."""

_base_ = "../_base_/settings/tiny_synthetic.py"
algorithm = "dtm_full"
