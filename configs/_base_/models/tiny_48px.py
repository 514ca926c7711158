"""The smallest ResNet that learns faces of 48 px in minutes on a CPU."""

model = dict(
    backbone=dict(type="TimmBackbone", name="resnet10t"),
    head=dict(type="LinearHead"),
    preprocess=dict(size=48),
    ema_decay=0.99,
)
views = dict(size=48)
