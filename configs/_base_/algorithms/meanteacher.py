"""Mean Teacher (Tarvainen & Valpola 2017, arXiv 1703.01780)."""

model = dict(algorithm=dict(type="MeanTeacher", lambda_u=10.0, ramp=0.4))
# Measured in docs/results/synthetic.md: 10 is too much for a short run.
overrides = dict(short_run=dict(lambda_u=1.0))
