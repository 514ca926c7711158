"""VAT (Miyato et al. 2018, arXiv 1704.03976)."""

model = dict(algorithm=dict(type="VAT", eps=6.0, entropy=0.06, ramp=0.4))
