"""From a checkpoint to a classifier of pictures, without the data it was trained on."""

from ferbench.deploy.predictor import Predictor

__all__ = ["Predictor"]
