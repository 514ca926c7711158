"""Dash on FER+."""

_base_ = [
    "../_base_/datasets/ferplus.py",
    "../_base_/models/r18_48px.py",
    "../_base_/schedules/short.py",
    "../_base_/runtime/default.py",
]
model = dict(algorithm=dict(type="Dash", gamma=1.27, rho_min=0.05, temperature=0.5))
