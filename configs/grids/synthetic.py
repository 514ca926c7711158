"""Every algorithm on synthetic faces, 20 labels per class, three draws of labels: does each one train, and none to its harm?

About one and a half minutes per run on one CPU core (bfloat16). `docs/results/synthetic.md` was made from it.
"""

base = "tiny_synthetic"
_names = """
supervised fixmatch dtm noisystudent comatch adacm eacm ssmfar otx vat ccssl remixmatch crest crestplus meanteacher pimodel
abc multimatch ict pseudolabel mutexmatch tras mixmatch flexmatch dtasnl freematch simmatch defixmatch oracle dash softmatch
adamatch uda debiasedpl refixmatch crmatch sequencematch darp daso saw adsh cossl logitadjustment reweighting
"""
algorithms = {name: name for name in _names.split()}
algorithms["dtm, full recipe"] = "dtm_full"
budgets = [20]
seeds = [0, 1, 2]
options = {
    "model.backbone.stem_width": 16,
    "model.precision": "bf16",
    "optim_wrapper.optimizer.lr": 2e-3,
    "train_cfg.max_iters": 1_500,
    "train_cfg.val_interval": 250,
    "default_hooks.report.pictures": False,
    # One core per run: workers would only take turns with the training.
    **{f"{part}_dataloader.num_workers": 0 for part in ("train", "unlabeled", "val", "test")},
}
keep = "none"
