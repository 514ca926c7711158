"""DTM's threshold, all else as FixMatch: ABAW5 EXPR; the statistic is from 50,000 of the half a million labeled frames."""

_base_ = [
    "../_base_/datasets/abaw5_expr.py",
    "../_base_/models/r50_112px.py",
    "../_base_/schedules/ssl.py",
    "../_base_/runtime/default.py",
]
model = dict(
    algorithm=dict(type="DTM", threshold_only=True, beta=0.97, floor=0.8, rule=dict(max_items=50_000))
)
