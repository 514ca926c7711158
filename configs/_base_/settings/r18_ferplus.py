"""FER+ (FER2013's images, ten votes each) with 100 labels per class: ResNet-18 on faces of 48 px, 3,000 iterations.

Unlabeled: the rest of the training part and LFW. Tested on PublicTest.
"""

_base_ = ["../models/r18_48px.py", "../schedules/short.py", "../runtime/default.py"]
conditions = ["short_run"]
_root = "{{$FERBENCH_DATA:data}}"
_source = dict(type="FERPlus", root=_root + "/fer2013.csv", votes=_root + "/fer2013new.csv")
# FER2013 is grey: colour would tell the two sources apart, and self-training would make a class of the difference.
_lfw = dict(type="ImageFolder", root=_root + "/lfw", grayscale=True)
classes = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
train_dataloader = dict(batch_size=16, dataset=dict(**_source, usage="Training"))
split = dict(type="BudgetSplit", per_class=100, val=0.1, seed=0)
unlabeled_dataloader = dict(mu=2, rest=True, dataset=_lfw)
val_dataloader = dict(batch_size=256)
test_dataloader = dict(batch_size=256, dataset=dict(**_source, usage="PublicTest"))
