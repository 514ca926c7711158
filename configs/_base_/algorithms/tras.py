"""TRAS (Wei et al. 2022, arXiv 2205.13358) over FixMatch."""

model = dict(
    algorithm=dict(type="TRAS", base=dict(type="FixMatch", threshold=0.95), tau=1.0, scale=2.0, offset=2.0)
)
