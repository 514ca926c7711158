"""Aff-Wild2 / ABAW5 EXPR: ResNet-50 on aligned faces of 112 px, 20,000 iterations.

A tenth of the videos of the official training part choose the checkpoint; tested on the official validation part.
Unlabeled: face-recognition images (MS1MV2 or any other InsightFace RecordIO).
"""

_base_ = ["../schedules/ssl.py", "../runtime/default.py"]
conditions = ["large_data"]  # half a million labeled frames
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
# From random weights; docs/howto/weights.md starts it from a network that knows faces.
model = dict(
    backbone=dict(type="TimmBackbone", name="resnet50"),
    head=dict(type="LinearHead"),
    preprocess=dict(size=112),
    ema_decay=0.999,
)
views = dict(size=112)
