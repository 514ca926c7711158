"""Dash (Xu et al. 2021, arXiv 2109.00650)."""

model = dict(algorithm=dict(type="Dash", gamma=1.27, rho_min=0.05, temperature=0.5))
