"""Every algorithm on synthetic faces, 20 labels per class: a check that each one trains, not a ranking.

About a minute per run on one CPU core. `docs/results/synthetic.md` was made from it.
"""

base = "supervised/tiny_synthetic.py"
_folders = """
supervised oracle pseudolabel fixmatch flexmatch dash freematch softmatch adamatch uda debiasedpl refixmatch defixmatch
dtm adacm eacm ssmfar otx dtasnl mutexmatch ccssl pimodel meanteacher vat mixmatch remixmatch ict comatch simmatch crmatch
sequencematch multimatch noisystudent darp crest crestplus abc daso saw adsh cossl tras logitadjustment reweighting
"""
algorithms = {name: f"{name}/tiny_synthetic.py" for name in _folders.split()}
algorithms["dtm, full recipe"] = "dtm/tiny_synthetic_full.py"
budgets = [20]
seeds = [0]
options = {
    "train_cfg.max_iters": 700,
    "train_cfg.val_interval": 175,
    "default_hooks.monitor.interval": 50,
    "default_hooks.report.pictures": False,
}
keep = "none"
