"""timm's smallest ResNet at half its width: learns faces of 48 px in minutes on a CPU."""

model = dict(
    backbone=dict(type="TimmBackbone", name="resnet10t", channels=(32, 64, 128, 256)),
    head=dict(type="LinearHead"),
    preprocess=dict(size=48),
    ema_decay=0.99,
)
views = dict(size=48)
