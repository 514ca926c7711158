"""Synthetic faces (tools/make_synthetic.py) in the Aff-Wild2 layout, 20 labels per class; the rest is unlabeled."""

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
