"""What every run has: evaluation, records, checkpoints, pictures."""

default_hooks = dict(
    checkpoint=dict(type="CheckpointKeeper"),
    param_scheduler=dict(type="ParamSchedulerHook"),
    monitor=dict(type="PseudoLabelMonitor", interval=100),
    report=dict(type="FinalReport"),
    record=dict(type="RunRecord"),
)
visualizer = dict(type="Visualizer", vis_backends=[dict(type="TensorboardVisBackend")])
val_cfg = dict(type="EvaluationLoop", part="val")
test_cfg = dict(type="EvaluationLoop", part="test")
val_evaluator = dict(type="ExpressionMetrics")
test_evaluator = dict(type="ExpressionMetrics")
env_cfg = dict(cudnn_benchmark=True)
