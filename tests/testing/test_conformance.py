"""Every part of ferbench passes the conformance kit, and the kit catches parts that break a promise."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor

from ferbench.algorithms import Batch, Matching, Network, StepResult
from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.errors import UserError
from ferbench.registry import ALGORITHMS, ALIGNMENTS, TARGETS, THRESHOLDS
from ferbench.testing import check_algorithm, check_rule
from ferbench.testing.conformance import check_processes
from ferbench.testing.gradients import check_gradients
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


#: Heads that start later than in three steps.
LEARN_LATER = {
    "SimMatch": ["network.heads.projection"]
}  # once every labeled item is in the bank: here step 4
OWN = [n for n in ALGORITHMS.names() if ALGORITHMS.get(n).__module__.startswith("ferbench.")]


@pytest.mark.parametrize(("kind", "name"), [rule for rule in RULES if rule[1] not in SHARED])
def test_rules(kind, name) -> None:
    check_rule(dict(type=name, **NEEDED.get(name, {})), kind)


@pytest.mark.parametrize("name", OWN)
def test_algorithms(name) -> None:
    check_algorithm(config(name), processes=False, learn_later=LEARN_LATER.get(name, ()))


def test_algorithms_on_two_processes() -> None:
    check_processes(*map(config, OWN))


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


class Mean(Half):
    """As above, behind a mask that is the same whatever the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = 0.0

    def forward(self, evidence: Evidence) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * evidence.probs.mean()  # 1/4: no top probability is below
        return (evidence.probs.max(dim=1).values >= self.mean).float()


class Counting(Half):
    """Counts steps, which makes a difference after the check."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, evidence: Evidence) -> Tensor:
        self.steps += 1
        return super().forward(evidence) * (0.0 if self.steps > 1000 else 1.0)


class Collecting(Half):
    """Its state is in an object of an attribute."""

    def bind(self, context: RunContext) -> None:
        self.kept = {"sums": [torch.zeros(context.num_classes)]}

    def forward(self, evidence: Evidence) -> Tensor:
        self.kept["sums"][0] += evidence.probs.sum(dim=0)
        return super().forward(evidence)


class Unsaved(Half):
    def bind(self, context: RunContext) -> None:
        self.register_buffer("mean", torch.zeros(()), persistent=False)

    def forward(self, evidence: Evidence) -> Tensor:
        self.mean.lerp_(evidence.probs.max(), 0.1)
        return super().forward(evidence)


class Drawing(Half):
    """Draws from a generator of its own: a resumed run would draw the same numbers again."""

    def bind(self, context: RunContext) -> None:
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, evidence: Evidence) -> Tensor:
        torch.rand((), generator=self.generator)
        return super().forward(evidence)


class Caching(Half):
    """What it keeps is of the step, or constant."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None
        self.calls = [self.forward, weakref.ref(self), lambda: self]
        self.unknown = np.array([0.0, np.nan])

    def forward(self, evidence: Evidence) -> Tensor:
        if self.table is None:
            self.table = torch.full((), 0.5)
        self.last = evidence, {"top": [evidence.probs.max(dim=1).values, float("nan")]}
        return self.last[1]["top"][0] * self.table


class OneHot(Half):
    """A GPU does not look at the labels for it."""

    def forward(self, evidence: Evidence) -> Tensor:
        label = evidence.probs.argmax(dim=1)
        hot = torch.nn.functional.one_hot(label, 4) + torch.nn.functional.one_hot(label, num_classes=4)
        return hot.float().mean(dim=1)


def reading(read):
    """A rule that reads values of the step in some way."""

    class Reading(Half):
        def forward(self, evidence: Evidence) -> Tensor:
            read(evidence)
            return super().forward(evidence)

    return Reading


class Refining(Half):
    """Reads back now and then, as what a GPU cannot do has to."""

    def forward(self, evidence: Evidence) -> Tensor:
        if evidence.iteration % 3 == 0:
            evidence.probs.cpu().numpy()
        return super().forward(evidence)


class InPlace(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        evidence.raw_probs.mul_(2)
        return super().forward(evidence)


class InPlaceLabels(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        evidence.labels[0] = 0
        evidence.labels[-1] = 0
        return super().forward(evidence)


class Nothing(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        pass


class Numbers(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        return [0.5] * len(evidence.probs)


class One(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        return torch.tensor(0.5)


class ScalarLevel(Half):
    def thresholds(self) -> Tensor:
        return torch.tensor(0.5)


class IntegerLevels(Half):
    def thresholds(self) -> Tensor:
        return torch.ones(4, dtype=torch.int64)


class ListedLevels(Half):
    def thresholds(self) -> Tensor:
        return [0.5] * 4


class ReadLevels(Half):
    def thresholds(self) -> Tensor:
        return torch.full((4,), torch.tensor(0.5).item())


class ByPlace(Half):
    def forward(self, evidence: Evidence) -> Tensor:
        return torch.arange(len(evidence.probs)) / 100.0


class Dividing(Half):
    """NaN where all items are equally sure."""

    def forward(self, evidence: Evidence) -> Tensor:
        top = evidence.probs.max(dim=1).values
        return (top - top.min()) / (top.max() - top.min())


@pytest.mark.parametrize("rule", [Half, Caching, OneHot, Refining])
def test_a_good_rule_passes(rule) -> None:
    check_rule(dict(type=rule))


@pytest.mark.parametrize(
    ("read", "call"),
    [
        (lambda e: e.probs.mean().item(), r"\.item\(\)"),
        (lambda e: e.probs.tolist(), r"\.tolist\(\)"),
        (lambda e: e.probs.numpy(), r"\.numpy\(\)"),
        (lambda e: np.asarray(e.probs), "NumPy"),
        (lambda e: e.probs.cpu(), r"\.cpu\(\)"),
        (lambda e: e.probs.to("cpu"), r"\.to\('cpu'\)"),
        (lambda e: e.probs.to(device="cpu"), r"\.to\('cpu'\)"),
        (lambda e: str(e.probs), "printing"),
        (lambda e: torch.equal(e.probs, e.raw_probs), r"torch\.equal"),
        (lambda e: torch.allclose(e.probs, e.raw_probs), r"torch\.allclose"),
        (lambda e: e.labels.unique_consecutive(), r"torch\.unique_consecutive"),
        (lambda e: e.labels.repeat_interleave(e.labels), "repeat_interleave without output_size"),
        (lambda e: torch.nn.functional.one_hot(e.labels), r"\.item\(\)"),
        (lambda e: torch.nn.functional.one_hot(e.labels, num_classes=-1), r"\.item\(\)"),
    ],
)
def test_a_rule_that_reads_values_is_caught(read, call) -> None:
    with pytest.raises(AssertionError, match=f"Reading.* waits for the device .*{call}"):
        check_rule(dict(type=reading(read)))


def test_moving_to_the_device_of_another_tensor_is_no_wait() -> None:
    check_rule(dict(type=reading(lambda e: e.labels.to(e.probs.device).to(torch.float32).to(e.probs))))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (TooLarge, r"a weight lies outside \[0, 1\]"),
        (PerClass, "one weight per item is expected"),
        (Syncing, "waits for the device"),
        (Indexing, "indexes by a mask"),
        (Random, "another result the second time"),
        (Forgetful, "after a checkpoint: mean holds state that no checkpoint has; keep all state in buffers"),
        (Mean, "after a checkpoint: mean holds state"),
        (Counting, "after a checkpoint: steps holds state"),
        (Collecting, "after a checkpoint: kept holds state"),
        (Unsaved, "after a checkpoint: mean holds state"),
        (Drawing, "after a checkpoint: generator holds state"),
        (InPlace, r"InPlace.* changes evidence\.probs in place"),
        (InPlaceLabels, r"changes evidence\.labels in place"),
        (Nothing, "Nothing.* returned NoneType; a tensor with a row per item is expected"),
        (Numbers, "Numbers.* returned list; a tensor with a row per item is expected"),
        (One, "One.* returned a scalar; a row per item is expected"),
        (ScalarLevel, r"thresholds\(\) returned torch.float32 of shape \(\); .*per class"),
        (IntegerLevels, r"thresholds\(\) returned torch.int64 of shape \(4,\)"),
        (ListedLevels, r"thresholds\(\) returned list"),
        (ReadLevels, "waits for the device"),
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


class Warming(Plain):
    """Forgets at a resume how often it was asked, which makes a difference after the check only."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def step(self, network: Network, batch: Batch) -> StepResult:
        self.steps += 1
        result = super().step(network, batch)
        return StepResult(result.loss * min(1000 / self.steps, 1), result.parts, result.pseudo_labels)


class Listing(Plain):
    def step(self, network: Network, batch: Batch) -> StepResult:
        batch.index.tolist()
        return super().step(network, batch)


class OneThreshold(Plain):
    def step(self, network: Network, batch: Batch) -> StepResult:
        result = super().step(network, batch)
        result.pseudo_labels.thresholds = torch.tensor(0.5)
        return result


class Number(Plain):
    def step(self, network: Network, batch: Batch) -> StepResult:
        return super().step(network, batch).loss


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
    with pytest.raises(AssertionError, match=r"waits for the device \(\.tolist"):
        check_algorithm(dict(type=Listing), processes=False)
    with pytest.raises(AssertionError, match="after a checkpoint: steps holds state"):
        check_algorithm(dict(type=Warming), processes=False)
    with pytest.raises(AssertionError, match=r"a step returned torch.float32 of shape \(\); a StepResult"):
        check_algorithm(dict(type=Number), processes=False)
    with pytest.raises(AssertionError, match=r"thresholds\(\) returned torch.float32 of shape \(\)"):
        check_algorithm(dict(type=OneThreshold), processes=False)
    with pytest.raises(UserError, match=r"PerClass returned torch\.float32"):
        check_algorithm(dict(type="Matching", threshold=dict(type=PerClass)), processes=False)


class UnusedHead(Plain):
    """No loss asks its head."""

    def heads(self, num_features: int, num_classes: int) -> dict[str, torch.nn.Module]:
        return {"unused": torch.nn.Linear(num_features, 2)}


class DetachedFeatures(Plain):
    """Only its last layer learns: a mistyped detach."""

    def step(self, network: Network, batch: Batch) -> StepResult:
        result = super().step(network, batch)
        features = network({"labeled": batch.labeled["weak"]}, ())["labeled"].features
        loss = torch.nn.functional.cross_entropy(network.head("own", features), batch.labels)
        return StepResult(loss, {}, result.pseudo_labels)

    def heads(self, num_features: int, num_classes: int) -> dict[str, torch.nn.Module]:
        return {"own": torch.nn.Linear(num_features, num_classes)}


class StarvedInHalf(Plain):
    """Its own cast of the weights cuts the graph, in low precision alone (as autocast's cache did up to torch 2.10)."""

    def step(self, network: Network, batch: Batch) -> StepResult:
        result = super().step(network, batch)
        if not torch.is_autocast_enabled("cpu"):
            return result
        norm = next(m for m in network.network.modules() if isinstance(m, torch.nn.BatchNorm2d))
        return StepResult(result.loss.detach() * norm.weight.sum() * norm.bias.sum().exp(), {})


class NeverFiniteInHalf(Plain):
    """An overflow that no scale of the loss cures."""

    def step(self, network: Network, batch: Batch) -> StepResult:
        result = super().step(network, batch)
        if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16:
            return StepResult(result.loss + (0 * result.loss).sqrt(), {})
        return result


class InfiniteSlope(Plain):
    """A finite loss, whose gradient is not: the root of 0."""

    def step(self, network: Network, batch: Batch) -> StepResult:
        result = super().step(network, batch)
        return StepResult(result.loss + (0 * result.loss).sqrt(), {})


class LateHead(UnusedHead):
    """Its head learns from the fifth step on."""

    def step(self, network: Network, batch: Batch) -> StepResult:
        result = super().step(network, batch)
        if batch.iteration < 4:
            return result
        output = network({"labeled": batch.labeled["weak"]}, ("labeled",))["labeled"]
        return StepResult(result.loss + output.heads["unused"].square().mean(), {}, result.pseudo_labels)


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (
            UnusedHead,
            r"UnusedHead.* in fp32: network.heads.unused.weight, network.heads.unused.bias got no finite gradient but 0",
        ),
        (
            DetachedFeatures,
            r"in fp32: network.backbone.layers.0.weight, .*network.head.fc.bias got no finite gradient but 0",
        ),
        (
            StarvedInHalf,
            r"in bf16: network.backbone.layers.0.weight, .*network.head.fc.bias got no finite gradient but 0",
        ),
        (NeverFiniteInHalf, r"in fp16: network.backbone.layers.0.weight, .* got no finite gradient but 0"),
        (InfiniteSlope, "in fp32, step 0: the gradient of .* is NaN or infinite"),
        (LateHead, r"network.heads.unused.weight, .* or name in learn_later"),
    ],
)
def test_a_tensor_that_does_not_learn_is_caught(algorithm, message) -> None:
    """Without an error and with a good-looking loss: in every precision, or in a low one alone."""
    with pytest.raises(AssertionError, match=message):
        check_gradients(dict(type=algorithm))


def test_what_learns_later_is_named() -> None:
    check_algorithm(dict(type=LateHead), processes=False, learn_later=["network.heads.unused"])
    with pytest.raises(AssertionError, match="learn_later names head, which is not trained; known: network"):
        check_gradients(dict(type=LateHead), ["head"])
    with pytest.raises(AssertionError, match=r"network\.head gets a gradient at once"):
        check_gradients(dict(type=Plain), ["network.head"])


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
        "import sys\n"
        "from ferbench.core.plugins import load\n"
        "from ferbench.testing import check_algorithm\n"
        "load('parts/loose')\n"
        "program = sys.modules['__main__']\n"
        "check_algorithm(dict(type='Matching', threshold=dict(type='LooseRule')))\n"
        # What was imported on the way, and the program itself, are where they were.
        "assert 'multiprocessing.popen_forkserver' in sys.modules\n"
        "assert sys.modules['__main__'] is program\n"
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
