"""Evaluation: metrics that are exact over processes, and the summary table."""

from ferbench.evaluation.metrics import ExpressionMetrics
from ferbench.evaluation.table import results_markdown, results_table

__all__ = ["ExpressionMetrics", "results_markdown", "results_table"]
