"""For tests of parts, your own included: one call that checks a part, evidence from a few numbers, recorded networks."""

from ferbench.testing.conformance import check_algorithm, check_rule
from ferbench.testing.evidence import make_evidence
from ferbench.testing.recorded import RecordedNetwork
from ferbench.testing.steps import make_step
from ferbench.testing.transforms import check_transform

__all__ = [
    "RecordedNetwork",
    "check_algorithm",
    "check_rule",
    "check_transform",
    "make_evidence",
    "make_step",
]
