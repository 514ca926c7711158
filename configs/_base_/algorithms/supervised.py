"""Labeled images alone: the lower reference."""

model = dict(algorithm=dict(type="Supervised"))
