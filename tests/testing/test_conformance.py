"""Every part of ferbench passes the conformance kit, and the kit catches parts that break a promise."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from ferbench.algorithms import Batch, Matching, Network, StepResult
from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.errors import UserError
from ferbench.registry import ALGORITHMS, ALIGNMENTS, TARGETS, THRESHOLDS
from ferbench.testing import check_algorithm, check_rule
from ferbench.thresholds import Evidence, RunContext, ThresholdRule

RULES = [
    (kind, name)
    for kind, registry in (("threshold", THRESHOLDS), ("alignment", ALIGNMENTS), ("target", TARGETS))
    for name in registry.names()
    if registry.get(name).__module__.startswith("ferbench.")
]
#: Arguments that a part cannot do without.
NEEDED: dict[str, dict] = {
    "Matching": dict(threshold=dict(type="FixedThreshold", threshold=0.5)),
    "MemorySmoothing": dict(dim=5, batches=2),  # as the kit's embeddings
    "BankSmoothing": dict(bank=dict(dim=5)),
}
#: Parts that belong to an algorithm which builds them with shared state; checked with it.
SHARED: set[str] = {"HeadAgreement", "AgreedTarget"}


def config(name: str) -> dict:
    """An algorithm's config; a method on top of a base gets one that selects some items."""
    cls = ALGORITHMS.get(name)
    base = dict(base=dict(type="FixMatch", threshold=0.5)) if issubclass(cls, Rebalancing) else {}
    own = {"threshold": 0.5} if "threshold" in inspect.signature(cls).parameters and not base else {}
    return dict(type=name, **base, **NEEDED.get(name, own))


OWN = [n for n in ALGORITHMS.names() if ALGORITHMS.get(n).__module__.startswith("ferbench.")]


@pytest.mark.parametrize(("kind", "name"), [rule for rule in RULES if rule[1] not in SHARED])
def test_rules(kind, name) -> None:
    check_rule(dict(type=name, **NEEDED.get(name, {})), kind)


@pytest.mark.parametrize("name", OWN)
def test_algorithms(name) -> None:
    check_algorithm(config(name), processes=False)


def test_algorithms_on_two_processes() -> None:
    check_algorithm(*map(config, OWN))


class Half(ThresholdRule):
    """Gives every item 1/2; its subclasses break one promise each."""

    def forward(self, evidence: Evidence) -> Tensor:
        return torch.full_like(evidence.probs[:, 0], 0.5)


class TooLarge(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        return 3 * super().forward(evidence)


class PerClass(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        return evidence.probs


class Syncing(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        return super().forward(evidence) * (1.0 if evidence.probs.mean() > 0 else 0.0)


class Indexing(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        weight = super().forward(evidence)
        weight[evidence.probs[:, 0] > 0.5] = 1.0
        return weight


class Random(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        return torch.rand(len(evidence.probs))


class Forgetful(Half):
    """Its state is no buffer."""

    def bind(self, context: RunContext) -> None:
        self.mean = torch.zeros(())

    def forward(self, evidence: Evidence) -> Tensor:
        self.mean = 0.5 * self.mean + 0.5 * evidence.probs.max()
        return self.mean.expand(len(evidence.probs))


class ByPlace(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        return torch.arange(len(evidence.probs)) / 100.0


class Dividing(Half):
    """NaN where all items are equally sure."""

    def forward(self, evidence: Evidence) -> Tensor:
        top = evidence.probs.max(dim=1).values
        return (top - top.min()) / (top.max() - top.min())


def test_a_good_rule_passes() -> None:
    check_rule(dict(type=Half))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (TooLarge, r"a weight lies outside \[0, 1\]"),
        (PerClass, "one weight per item is expected"),
        (Syncing, "waits for the device"),
        (Indexing, "indexes by a mask"),
        (Random, "another result the second time"),
        (Forgetful, "goes on differently after a checkpoint; keep all state in buffers"),
        (ByPlace, "when the rows of the batch change places"),
        (Dividing, "NaN or infinite"),
    ],
)
def test_a_broken_rule_is_caught(rule, message) -> None:
    with pytest.raises(AssertionError, match=message):
        check_rule(dict(type=rule))


def test_a_kind_that_does_not_exist() -> None:
    with pytest.raises(UserError, match="no kind of rule named 'treshold'"):
        check_rule(dict(type=Half), "treshold")


class Plain(Matching):
    def __init__(self) -> None:
        super().__init__(threshold=dict(type="FixedThreshold", threshold=0.5))


class Attached(Plain):
    def step(self, network: Network, batch: Batch) -> StepResult:
        result = super().step(network, batch)
        return StepResult(result.loss, {"loss": result.loss}, result.pseudo_labels)


class PerRank(Plain):
    """A loss over pairs of rows of one process."""

    def step(self, network: Network, batch: Batch) -> StepResult:
        result = super().step(network, batch)
        strong = network({"strong": batch.unlabeled["strong"]}, ("strong",))["strong"].features
        return StepResult(result.loss + (strong @ strong.t()).square().sum(), {}, result.pseudo_labels)


class Logging(Plain):
    def step(self, network: Network, batch: Batch) -> StepResult:
        result = super().step(network, batch)
        result.loss.item()
        return result


def test_a_broken_algorithm_is_caught() -> None:
    check_algorithm(dict(type=Plain), processes=False)
    with pytest.raises(AssertionError, match="part 'loss' of the log carries a gradient"):
        check_algorithm(dict(type=Attached), processes=False)
    with pytest.raises(AssertionError, match="waits for the device"):
        check_algorithm(dict(type=Logging), processes=False)


def test_a_loss_over_the_rows_of_one_process_is_caught() -> None:
    check_algorithm(dict(type=PerRank), processes=False)
    with pytest.raises(AssertionError, match=r"another result on 2 processes than on 1: .*; .*gather"):
        check_algorithm(dict(type=PerRank))


#: A package that is not installed: its rules are in a module that only the package's ``__init__`` names.
LOOSE = """
from ferbench.registry import THRESHOLDS
from ferbench.thresholds import ThresholdRule

@THRESHOLDS.register_module()
class LooseRule(ThresholdRule):
    def forward(self, evidence):
        return (evidence.probs.max(dim=1).values > 0.5).float()
"""


def test_two_processes_know_a_plug_in_that_is_not_installed(repo, tmp_path) -> None:
    """In a script as users write it, without ``if __name__ == "__main__"``."""
    (tmp_path / "parts" / "loose").mkdir(parents=True)
    (tmp_path / "parts" / "loose" / "rules.py").write_text(LOOSE)
    (tmp_path / "parts" / "loose" / "__init__.py").write_text("from loose import rules\n")
    (tmp_path / "check.py").write_text(
        "from ferbench.plugins import load\n"
        "from ferbench.testing import check_algorithm\n"
        "load('parts/loose')\n"
        "check_algorithm(dict(type='Matching', threshold=dict(type='LooseRule')))\n"
        "print('checked')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(repo)}
    done = subprocess.run(
        [sys.executable, "check.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "checked\n"


@pytest.mark.parametrize("module", ["__main__", "a_test_that_no_path_leads_to"])
def test_a_class_that_new_processes_cannot_import_is_named(module, monkeypatch) -> None:
    monkeypatch.setattr(Half, "__module__", module)
    with pytest.raises(AssertionError, match=f"cannot import Half of {module}; move it into a module"):
        check_algorithm(dict(type="Matching", threshold=dict(type=Half)))


def test_a_class_of_a_function_is_named() -> None:
    class Inner(Half):
        pass

    with pytest.raises(AssertionError, match=r"cannot import .*<locals>\.Inner of .*; move it into a module"):
        check_algorithm(dict(type="Matching", threshold=dict(type=Inner)))
