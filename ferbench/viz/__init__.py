"""Pictures of a run."""

from ferbench.viz.plots import plot_run
from ferbench.viz.runlog import RunLog, read_metrics

__all__ = ["RunLog", "plot_run", "read_metrics"]
