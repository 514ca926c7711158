"""MixMatch (Berthelot et al. 2019, arXiv 1905.02249)."""

model = dict(algorithm=dict(type="MixMatch", temperature=0.5, alpha=0.75, lambda_u=10.0, ramp=0.4))
