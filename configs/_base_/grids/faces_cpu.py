"""Runs on FER+ that fit a CPU core: dlib's face network at 112 px, fine-tuned for 800 steps; ten to fifteen minutes each."""

base = "dlib_ferplus"
seeds = [0, 1, 2]
options = {
    "default_hooks.report.pictures": False,
    # One core per run: workers would only take turns with the training.
    **{f"{part}_dataloader.num_workers": 0 for part in ("train", "unlabeled", "val", "test")},
}
keep = "none"
