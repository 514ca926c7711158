"""MutexMatch (Duan et al. 2022, arXiv 2203.14316)."""

model = dict(algorithm=dict(type="MutexMatch", threshold=0.95))
