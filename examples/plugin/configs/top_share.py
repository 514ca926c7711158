"""FixMatch with another threshold, everything else equal."""

_rule = dict(type="TopShareThreshold", share=0.6)
model = dict(algorithm=dict(type="Matching", threshold=_rule))
