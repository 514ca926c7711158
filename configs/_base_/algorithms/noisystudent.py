"""Noisy Student (Xie et al. 2020, arXiv 1911.04252)."""

model = dict(algorithm=dict(type="NoisyStudent", generations=4, threshold=0.3))
overrides = dict(
    large_data=dict(teacher=dict(half=True)),  # float16 tables: half the memory
    short_run=dict(generations=3, restart=False),  # too short for a classifier that starts anew
    tiny_run=dict(generations=2),
)
