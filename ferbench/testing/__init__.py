"""For tests of parts, your own included: one call that checks a part, evidence from a few numbers, recorded networks."""

from ferbench.testing.conformance import check_algorithm, check_rule
from ferbench.testing.evidence import make_evidence
from ferbench.testing.recorded import RecordedNetwork
from ferbench.testing.steps import make_step

__all__ = ["RecordedNetwork", "check_algorithm", "check_rule", "make_evidence", "make_step"]
