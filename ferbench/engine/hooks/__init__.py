"""What watches, saves and reports a run."""

from ferbench.engine.hooks.keeper import CheckpointKeeper
from ferbench.engine.hooks.monitor import PseudoLabelMonitor
from ferbench.engine.hooks.report import FinalReport
from ferbench.engine.hooks.run_record import RunRecord

__all__ = ["CheckpointKeeper", "FinalReport", "PseudoLabelMonitor", "RunRecord"]
