"""CReST+ (Wei et al. 2021, arXiv 2102.09559) over FixMatch."""

_fixmatch = dict(type="FixMatch", threshold=0.95)
model = dict(algorithm=dict(type="CReSTPlus", base=_fixmatch, generations=6, alpha=3.0, t_min=0.5))
overrides = dict(
    short_run=dict(generations=3, restart=False),  # too short for a classifier that starts anew
    tiny_run=dict(generations=2),
)
