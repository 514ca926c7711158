"""What users of mmengine write in a config, and what has the same effect here."""

from __future__ import annotations

from collections.abc import Mapping

_LOG = "default_hooks = dict(monitor=dict(interval=50))"
#: At top level.
INSTEAD: Mapping[str, str] = {
    "log_interval": _LOG,
    "log_config": _LOG,
    "log_processor": _LOG,
    "monitor": _LOG,
    "checkpoint": "default_hooks = dict(checkpoint=dict(interval=1000, metric='macro_f1'))",
    "checkpoint_config": "default_hooks = dict(checkpoint=dict(interval=1000, metric='macro_f1'))",
    "save_best": "default_hooks = dict(checkpoint=dict(metric='macro_f1'))",
    "hooks": "custom_hooks = []",
    "evaluation": "train_cfg = dict(val_interval=1000)",
    "val_interval": "train_cfg = dict(val_interval=1000)",
    "max_iters": "train_cfg = dict(max_iters=20000)",
    "max_epochs": "train_cfg = dict(max_iters=20000)",
    "total_epochs": "train_cfg = dict(max_iters=20000)",
    "runner": "train_cfg = dict(max_iters=20000)",
    "auto_scale_lr": "optim_wrapper = dict(optimizer=dict(lr=0.03))",
    "optimizer": "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.03))",
    "optimizer_config": "optim_wrapper = dict(clip_grad=dict(max_norm=1.0))",
    "lr_config": "param_scheduler = dict(type='WarmupCosineLR', warmup=500)",
    "data_preprocessor": "model = dict(preprocess=dict(size=48))",
    "compile": "model = dict(compile=True)",
    "fp16": "model = dict(precision='fp16')",
    "ema": "model = dict(ema_decay=0.999)",
    "batch_size": "train_dataloader = dict(batch_size=64)",
    "data": "train_dataloader = dict(batch_size=64)",
    "activation_checkpointing": "train_cfg = dict(micro_batches=2)",
    "find_unused_parameters": "model_wrapper_cfg = dict(find_unused_parameters=True)",
    "sync_bn": "model = dict(batch_norm='synchronized')",
    "vis_backends": "visualizer = dict(vis_backends=[])",
    "seed": "randomness = dict(seed=0)",
    "deterministic": "randomness = dict(deterministic=True)",
    "cudnn_benchmark": "env_cfg = dict(cudnn_benchmark=True)",
    "dist_params": "env_cfg = dict(dist_cfg=dict(backend='nccl'))",
    "resume_from": "resume = True",
    "auto_resume": "resume = True",
    "init_cfg": "load_from = 'checkpoint.pth'",
}

_COUNTED = "leave it out: a run is counted in iterations"
_LOADER = "leave it out: the order of the images and their batches follow from seed and iteration, and workers are kept"
#: In sections, by the path of the key: an assignment, or why to leave it out.
INSTEAD_WITHIN: Mapping[str, str] = {
    "train_cfg.log_interval": _LOG,
    "train_cfg.by_epoch": f"{_COUNTED}, train_cfg.max_iters of them",
    "train_cfg.max_epochs": "train_cfg = dict(max_iters=20000)",
    "train_cfg.val_begin": "leave it out: the first validation comes after train_cfg.val_interval iterations",
    "train_cfg.dynamic_intervals": "leave it out: a validation comes after each train_cfg.val_interval iterations",
    "val_cfg.interval": "train_cfg = dict(val_interval=1000)",
    "val_cfg.fp16": "model = dict(precision='fp16')",
    "test_cfg.fp16": "model = dict(precision='fp16')",
    "default_hooks.logger": _LOG,
    "default_hooks.timer": _LOG,
    "default_hooks.runtime_info": _LOG,
    "default_hooks.sampler_seed": "leave it out: the order of the images follows from seed and iteration",
    "default_hooks.visualization": "leave it out: tools/test.py CONFIG CHECKPOINT --out DIR writes the predictions",
    "default_hooks.checkpoint.by_epoch": f"{_COUNTED}, default_hooks.checkpoint.interval too",
    "default_hooks.checkpoint.save_best": "default_hooks = dict(checkpoint=dict(metric='macro_f1'))",
    "default_hooks.checkpoint.rule": "leave it out: the larger score is the better one",
    "default_hooks.checkpoint.max_keep_ckpts": "leave it out: last.pth, best_raw.pth and best_ema.pth are kept",
    "default_hooks.checkpoint.save_last": "leave it out: last.pth is always kept",
    "default_hooks.checkpoint.out_dir": "leave it out: all files of a run lie in its folder, --work-dir",
    "default_hooks.param_scheduler.by_epoch": f"{_COUNTED}; each schedule says by_epoch=False",
    "optim_wrapper.accumulative_counts": "train_cfg = dict(micro_batches=2)",
    "optim_wrapper.dtype": "model = dict(precision='bf16')",
    "optim_wrapper.loss_scale": "model = dict(precision='fp16')",
    "optim_wrapper.paramwise_cfg": "leave it out: biases, norm weights, tokens and position embeddings are not decayed",
    "optim_wrapper.constructor": "leave it out: biases, norm weights, tokens and position embeddings are not decayed",
    "model.data_preprocessor": "model = dict(preprocess=dict(size=48))",
    "model.init_cfg": "load_from = 'checkpoint.pth'",
    "model.pretrained": "load_from = 'checkpoint.pth'",
    **{
        f"{part}_dataloader.{key}": _LOADER
        for part in ("train", "unlabeled", "val", "test")
        for key in (
            "shuffle", "batch_sampler", "collate_fn", "drop_last", "persistent_workers", "pin_memory", "prefetch_factor",
            "worker_init_fn",
        )
    },
    "val_dataloader.sampler": "leave it out: each image is evaluated once",
    "test_dataloader.sampler": "leave it out: each image is evaluated once",
    "unlabeled_dataloader.sampler": "leave it out: the unlabeled stream is shuffled; the labeled one: train_dataloader.sampler",
    "unlabeled_dataloader.batch_size": "unlabeled_dataloader = dict(mu=7)",
}  # fmt: skip


def instead(key: str) -> str | None:
    """What to write instead of a key that mmengine knows, as the last part of a message; None of any other key.

    Args:
        key: dotted path, e.g. ``train_cfg.log_interval``.

    >>> instead("train_cfg.max_epochs")
    'write in the config: train_cfg = dict(max_iters=20000)'
    """
    text = INSTEAD.get(key) or INSTEAD_WITHIN.get(key)
    return text if text is None or text.startswith("leave it out") else f"write in the config: {text}"
