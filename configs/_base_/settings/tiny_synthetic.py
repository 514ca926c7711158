"""Synthetic faces (tools/make_synthetic.py), 20 labels per class: a small ResNet, two or three minutes on two CPU cores.

The faces are in the layout of Aff-Wild2. Unlabeled: the rest of the training part, and more faces.
"""

_base_ = ["../schedules/short.py", "../runtime/default.py"]
conditions = ["short_run", "tiny_run"]
_root = "{{$FERBENCH_DATA:data}}/synthetic"
classes = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
train_dataloader = dict(
    batch_size=16, dataset=dict(type="AffWild2Expr", root=_root + "/affwild2", part="Train_Set")
)
split = dict(type="BudgetSplit", per_class=20, val=0.15, seed=0)
unlabeled_dataloader = dict(mu=3, rest=True, dataset=dict(type="ImageFolder", root=_root + "/faces"))
val_dataloader = dict(batch_size=256)
test_dataloader = dict(
    batch_size=256, dataset=dict(type="AffWild2Expr", root=_root + "/affwild2", part="Validation_Set")
)
# timm's smallest ResNet at a quarter of its width learns 48 px faces in minutes, from few labels better than a wider one.
model = dict(
    backbone=dict(type="TimmBackbone", name="resnet10t", channels=(16, 32, 64, 128)),
    head=dict(type="LinearHead"),
    preprocess=dict(size=48),
    ema_decay=0.99,
)
views = dict(size=48)
train_cfg = dict(max_iters=1_000, val_interval=250)
