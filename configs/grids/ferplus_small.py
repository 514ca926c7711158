"""Which pseudo-labels help a small network on real faces? FER+ at 25 and 100 labels per class, three draws of labels.

78 runs of about five minutes on one CPU core (bfloat16). `docs/results/fer2013.md` was made from it. The network is
timm's smallest ResNet at half its width, from random weights; the unlabeled images are the rest of FER2013.
"""

base = "supervised/r18_ferplus.py"
algorithms = {
    "Supervised": "supervised/r18_ferplus.py",
    "FixMatch 0.8": dict(type="FixMatch", threshold=0.8),
    "DTM threshold only": "dtm/r18_ferplus.py",
    "FixMatch 0.95": dict(type="FixMatch", threshold=0.95),
    "PseudoLabel": "pseudolabel/r18_ferplus.py",
    "FlexMatch": "flexmatch/r18_ferplus.py",
    "FreeMatch": "freematch/r18_ferplus.py",
    "SoftMatch": "softmatch/r18_ferplus.py",
    "AdaMatch": "adamatch/r18_ferplus.py",
    "UDA": "uda/r18_ferplus.py",
    "DebiasedPL": "debiasedpl/r18_ferplus.py",
    "AdaCM": "adacm/r18_ferplus.py",
    "DTM full": "dtm/r18_ferplus_full.py",
}
budgets = [100, 25]
seeds = [0, 1, 2]
options = {
    "model.backbone.name": "resnet10t",
    "model.backbone.channels": (32, 64, 128, 256),
    "model.backbone.stem_width": 16,
    "model.precision": "bf16",
    "optim_wrapper.optimizer.lr": 2e-3,
    "train_dataloader.batch_size": 16,
    "unlabeled_dataloader.mu": 3,
    "unlabeled_dataloader.dataset": None,  # no LFW; ferplus_unlabeled.py compares the sources
    "train_cfg.max_iters": 5_000,
    "train_cfg.val_interval": 1_000,
    "default_hooks.report.pictures": False,
    # One core per run: workers would only take turns with the training.
    **{f"{part}_dataloader.num_workers": 0 for part in ("train", "unlabeled", "val", "test")},
}
keep = "none"
