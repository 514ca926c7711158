"""Minutes on two CPU cores."""

train_cfg = dict(type="SemiTrainLoop", max_iters=600, val_interval=200)
optim_wrapper = dict(
    type="SSLOptimWrapper",
    optimizer=dict(type="SGD", lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4),
)
param_scheduler = dict(type="WarmupCosineLR", cycles=7 / 16)
