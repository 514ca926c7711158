"""Pi-Model (Laine & Aila 2017, arXiv 1610.02242)."""

model = dict(algorithm=dict(type="PiModel", lambda_u=10.0, ramp=0.4))
