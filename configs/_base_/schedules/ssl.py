"""FixMatch's optimizer and schedule (arXiv 2001.07685, sec. 4, table 4), shortened to 20,000 iterations."""

train_cfg = dict(type="SemiTrainLoop", max_iters=20_000, val_interval=1_000)
optim_wrapper = dict(
    type="SSLOptimWrapper",
    optimizer=dict(type="SGD", lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True),
)
param_scheduler = dict(type="WarmupCosineLR", cycles=7 / 16)
