"""ResNet-18 (timm) for faces of 48 px, from random weights."""

model = dict(
    backbone=dict(type="TimmBackbone", name="resnet18"),
    head=dict(type="LinearHead"),
    preprocess=dict(size=48),
    ema_decay=0.999,
)
views = dict(size=48)
