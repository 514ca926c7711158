"""CReST over FixMatch on FER+."""

_base_ = [
    "../_base_/datasets/ferplus.py",
    "../_base_/models/r18_48px.py",
    "../_base_/schedules/short.py",
    "../_base_/runtime/default.py",
]
_fixmatch = dict(type="FixMatch", threshold=0.95)
model = dict(algorithm=dict(type="CReST", base=_fixmatch, generations=3, restart=False, alpha=3.0))
