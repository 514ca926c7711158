"""Runs on FER+ that fit a CPU core: dlib's face network at 112 px, fine-tuned for 800 steps; ten to fifteen minutes each."""

base = "r18_ferplus"
seeds = [0, 1, 2]
options = {
    "model.backbone": dict(_delete_=True, type="DlibResNet", weights="dlib-face-v1"),
    "model.preprocess.size": 112,
    "views.size": 112,
    "optim_wrapper.optimizer.lr": 3e-4,
    "train_dataloader.batch_size": 16,
    "unlabeled_dataloader.mu": 3,
    "unlabeled_dataloader.dataset": None,
    "train_cfg.max_iters": 800,
    "train_cfg.val_interval": 200,
    "default_hooks.report.pictures": False,
    # One core per run: workers would only take turns with the training.
    **{f"{part}_dataloader.num_workers": 0 for part in ("train", "unlabeled", "val", "test")},
}
keep = "none"
