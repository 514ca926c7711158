"""For tests of parts, your own included: evidence from a few numbers, and a network that answers with recorded outputs."""

from ferbench.testing.evidence import make_evidence
from ferbench.testing.recorded import RecordedNetwork
from ferbench.testing.steps import make_step

__all__ = ["RecordedNetwork", "make_evidence", "make_step"]
