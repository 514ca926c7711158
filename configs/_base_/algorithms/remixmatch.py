"""ReMixMatch (Berthelot et al. 2020, arXiv 1911.09785)."""

model = dict(algorithm=dict(type="ReMixMatch", temperature=0.5, alpha=0.75, lambda_u=1.5, rotation=0.5))
