"""timm's smallest ResNet at a quarter of its width: learns faces of 48 px in minutes on a CPU, and from few labels better than
a wider one."""

model = dict(
    backbone=dict(type="TimmBackbone", name="resnet10t", channels=(16, 32, 64, 128)),
    head=dict(type="LinearHead"),
    preprocess=dict(size=48),
    ema_decay=0.99,
)
views = dict(size=48)
