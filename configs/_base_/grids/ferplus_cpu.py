"""Runs on FER2013's images that fit a CPU: timm's smallest ResNet, half as wide, from random weights; five minutes each."""

base = "r18_ferplus"
seeds = [0, 1, 2]
options = {
    "model.backbone.name": "resnet10t",
    "model.backbone.channels": (32, 64, 128, 256),
    "model.backbone.stem_width": 16,
    "model.precision": "bf16",
    "optim_wrapper.optimizer.lr": 2e-3,
    "train_dataloader.batch_size": 16,
    "unlabeled_dataloader.mu": 3,
    "train_cfg.max_iters": 5_000,
    "train_cfg.val_interval": 1_000,
    "default_hooks.report.pictures": False,
    # One core per run: workers would only take turns with the training.
    **{f"{part}_dataloader.num_workers": 0 for part in ("train", "unlabeled", "val", "test")},
}
keep = "none"
