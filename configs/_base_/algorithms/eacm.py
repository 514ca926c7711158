"""EACM (Li et al. 2025, TPAMI): our reading."""

model = dict(algorithm=dict(type="EACM", momentum=0.99))
