"""Dash on synthetic faces."""

_base_ = [
    "../_base_/datasets/synthetic.py",
    "../_base_/models/tiny_48px.py",
    "../_base_/schedules/tiny.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="Dash", gamma=1.27, rho_min=0.05, temperature=0.5))
