"""What a run does, step by step: training over two streams, and evaluation."""

from ferbench.engine.loops.evaluation import EvaluationLoop
from ferbench.engine.loops.train import SemiTrainLoop

__all__ = ["EvaluationLoop", "SemiTrainLoop"]
