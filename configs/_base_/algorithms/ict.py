"""ICT (Verma et al. 2019, arXiv 1903.03825)."""

model = dict(algorithm=dict(type="ICT", alpha=1.0, lambda_u=10.0, ramp=0.4))
