"""Pseudo-Label (Lee 2013, ICML workshop)."""

model = dict(algorithm=dict(type="PseudoLabel", threshold=0.95))
