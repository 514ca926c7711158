"""FER2013 with 100 labels per class: ResNet-18 on faces of 48 px, 3,000 iterations.

Unlabeled: the rest of the training part and LFW. Tested on PublicTest.
For the rest alone: --cfg-options unlabeled_dataloader.dataset=None
"""

_base_ = ["../models/r18_48px.py", "../schedules/short.py", "../runtime/default.py"]
conditions = ["short_run"]
_root = "{{$FERBENCH_DATA:data}}"
# FER2013 is grey: colour would tell the two sources apart, and self-training would make a class of the difference.
_lfw = dict(type="ImageFolder", root=_root + "/lfw", grayscale=True)
classes = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
train_dataloader = dict(
    batch_size=16, dataset=dict(type="FER2013", root=_root + "/fer2013.csv", usage="Training")
)
split = dict(type="BudgetSplit", per_class=100, val=0.1, seed=0)
unlabeled_dataloader = dict(mu=2, rest=True, dataset=_lfw)
val_dataloader = dict(batch_size=256)
test_dataloader = dict(
    batch_size=256, dataset=dict(type="FER2013", root=_root + "/fer2013.csv", usage="PublicTest")
)
