"""Algorithms below labeled-only in `synthetic.py`, with 4,000 steps in place of 1,500: is it the short run, or a part?

One to eight minutes per run on one CPU core.
"""

_base_ = "{{$FERBENCH_CONFIGS:}}/grids/synthetic.py"
_names = (
    "supervised fixmatch pseudolabel meanteacher ccssl vat crest crestplus pimodel noisystudent comatch ict"
)
_teacher = dict(type="MeanTeacher", ramp=0.4, lambda_u=10.0)
algorithms = {
    "_delete_": True,
    **{name: name for name in _names.split()},
    "meanteacher, lambda_u 10": _teacher,
    "meanteacher, lambda_u 10, teacher in evaluation mode": dict(**_teacher, judge="ema"),
}
options = {"train_cfg.max_iters": 4_000, "train_cfg.val_interval": 1_000}
