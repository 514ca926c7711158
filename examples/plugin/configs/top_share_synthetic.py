"""The new rule on the synthetic faces: FixMatch with another threshold, everything else equal."""

_base_ = "{{$FERBENCH_CONFIGS:}}/fixmatch/tiny_synthetic.py"

_rule = dict(type="TopShareThreshold", share=0.6)
model = dict(algorithm=dict(_delete_=True, type="Matching", threshold=_rule))
