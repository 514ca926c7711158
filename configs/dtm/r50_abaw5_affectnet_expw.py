"""DTM's threshold: Aff-Wild2 with AffectNet and ExpW as further labeled images, mixed by the names of their classes.

The authors name the three data sets (their code and paper say no more). A tenth of the videos and of the further images
chooses the checkpoint; tested on Aff-Wild2's validation part. "Other" is in Aff-Wild2 alone.
"""

_base_ = "../_base_/settings/r50_abaw5.py"
algorithm = "dtm"
_root = "{{$FERBENCH_DATA:data}}"
_affectnet = dict(Happy="Happiness", Sad="Sadness", Contempt=None)
_expw = dict(
    neutral="Neutral", angry="Anger", disgust="Disgust", fear="Fear", happy="Happiness", sad="Sadness", surprise="Surprise"
)  # fmt: skip
train_dataloader = dict(
    dataset=[
        dict(type="AffWild2Expr", root=_root + "/affwild2", part="Train_Set"),
        dict(type="AffectNet", root=_root + "/affectnet", part="train", rename=_affectnet),
        dict(type="ExpW", root=_root + "/expw", rename=_expw),
    ]
)
