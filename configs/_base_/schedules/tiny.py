"""Two or three minutes on two CPU cores."""

train_cfg = dict(type="SemiTrainLoop", max_iters=1_000, val_interval=250)
optim_wrapper = dict(type="SSLOptimWrapper", optimizer=dict(type="Adam", lr=1e-3, fused=True))
param_scheduler = dict(type="WarmupCosineLR", cycles=7 / 16)
