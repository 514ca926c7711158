"""CReST+ over FixMatch on ABAW5 EXPR."""

_base_ = [
    "../_base_/datasets/abaw5_expr.py",
    "../_base_/models/r50_112px.py",
    "../_base_/schedules/ssl.py",
    "../_base_/runtime/default.py",
]
_fixmatch = dict(type="FixMatch", threshold=0.95)
model = dict(algorithm=dict(type="CReSTPlus", base=_fixmatch, generations=6, alpha=3.0, t_min=0.5))
