"""Aff-Wild2 / ABAW5 EXPR: the official training part, a tenth of whose videos choose the checkpoint; tested on the official
validation part. Unlabeled: face-recognition images (MS1MV2 or any other InsightFace RecordIO)."""

_root = "{{$FERBENCH_DATA:data}}"
classes = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
train_dataloader = dict(
    batch_size=64, dataset=dict(type="AffWild2Expr", root=_root + "/affwild2", part="Train_Set")
)
split = dict(type="BudgetSplit", val=0.1, by="group", seed=0)
unlabeled_dataloader = dict(mu=2, dataset=dict(type="RecordIO", path=_root + "/faces/train.rec"))
val_dataloader = dict(batch_size=256)
test_dataloader = dict(
    batch_size=256, dataset=dict(type="AffWild2Expr", root=_root + "/affwild2", part="Validation_Set")
)
