"""DASO (Oh et al. 2022, arXiv 2106.05682) over FixMatch."""

model = dict(
    algorithm=dict(type="DASO", base=dict(type="FixMatch", threshold=0.95), length=256, blend_temperature=1.5)
)
