"""ResNet-50 (timm) for aligned faces of 112 px; start it from a file with model.backbone.weights=PATH."""

model = dict(
    backbone=dict(type="TimmBackbone", name="resnet50"),
    head=dict(type="LinearHead"),
    preprocess=dict(size=112),
    ema_decay=0.999,
)
views = dict(size=112)
