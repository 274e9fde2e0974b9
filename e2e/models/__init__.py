"""The quickstart model: a real classifier of handwritten digits, trained once and kept in the user's cache."""

from e2e.models.artifact import Sample, TrainedModel, load_trained_model
from e2e.models.build import TrainingFailed, trained_digits

__all__ = ["Sample", "TrainedModel", "TrainingFailed", "load_trained_model", "trained_digits"]
