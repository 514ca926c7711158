"""CReST+ over FixMatch on synthetic faces."""

_base_ = [
    "../_base_/datasets/synthetic.py",
    "../_base_/models/tiny_48px.py",
    "../_base_/schedules/tiny.py",
    "../_base_/runtime/default.py",
]
_fixmatch = dict(type="FixMatch", threshold=0.95)
model = dict(
    algorithm=dict(type="CReSTPlus", base=_fixmatch, generations=2, restart=False, alpha=3.0, t_min=0.5)
)
