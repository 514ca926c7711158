"""DARP (Kim et al. 2020, arXiv 2007.08844) over FixMatch."""

_fixmatch = dict(type="FixMatch", threshold=0.95)
model = dict(algorithm=dict(type="DARP", base=_fixmatch, interval=500, alpha=2.0))
overrides = dict(
    large_data=dict(refinery=dict(half=True)),  # float16 tables: half the memory
    short_run=dict(interval=10),
)
