"""Drives the registered algorithms with recorded inputs, so that their numbers can be compared with anybody's.

A folder of reference vectors holds ``inputs.npz`` (logits, labels and indices of every step), ``meta.json`` (the runs and
their hyper-parameters) and one ``<run>.npz`` per run. Of the latter only inputs are read (``in_*``, ``beta_draw``,
``perm``, ``mem_bank_init``). The network is the identity: an "image" is the row of logits (and features) that a network
would have made of it, so that the gradient at the images is the gradient at the logits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ferbench.algorithms.base import Algorithm
from ferbench.contracts import Batch, Output, StepResult
from ferbench.core.parts import build
from ferbench.errors import UserError
from ferbench.functional.frequency import frequency_order, most_confident, sampling_rates
from ferbench.lifecycle import RunContext, bind, parts_of
from ferbench.registry import ALGORITHMS

Arrays = dict[str, np.ndarray]
Reader = Callable[[Any], Any]

#: Which recorded logits are which view, and the name of the gradient at it.
VIEWS = {
    "labeled": ("logits_lb", "feat_lb", "lb"),
    "weak": ("logits_ulb_w", "feat_ulb_w", "ulb_w"),
    "strong": ("logits_ulb_s", "feat_ulb_s", "ulb_s"),
    "strong2": ("logits_ulb_s1", "feat_ulb_s1", "ulb_s1"),
    "weak2": ("logits_ulb_s", "feat_ulb_s", "ulb_s"),  # methods of two weak views call the second one "s"
}

#: What `replay_epochs` gives, per epoch and per step.
EPOCH_ARRAYS = ("threshold_used", "threshold_after_epoch", "derived_num_correct", "derived_mean_conf_correct")
STEP_ARRAYS = ("mask", "pseudo_label", "loss_x", "loss_u", "loss_s", "loss_total")


@dataclass(frozen=True)
class Recipe:
    """How one recorded algorithm is built and read.

    Attributes:
        config: from the run's hyper-parameters, and ``epoch_length`` in iterations, to the config of the registered
            algorithm.
        state: array -> how to read it off the algorithm after a step; ``probs_aligned`` here replaces the final probabilities.
        sampled: array -> how to read it off the algorithm after the steps whose gradients are recorded.
        losses: array -> name of the loss part (`StepResult.parts`), or the parts that it is the sum of: name -> factor.
        epoch_end: array -> how to read it off the algorithm after the pass over the unlabeled set that ends an epoch.
        features: heads that the recorded features stand for; empty: no features.
        gradients: renamed gradients: view -> array.
        labeled_strong: factor by which the labeled logits make the labeled strong view, where the method has one.
        prepare: gives the algorithm recorded draws in place of its own: (algorithm, inputs of the run).
        before_step: the same at each step: (algorithm, inputs of the run, step).
        hyper: hyper-parameters of a run that ``meta.json`` does not list.
    """

    config: Callable[[dict[str, Any]], dict[str, Any]]
    state: Mapping[str, Reader] = field(default_factory=dict)
    sampled: Mapping[str, Reader] = field(default_factory=dict)
    losses: Mapping[str, str | Mapping[str, float]] = field(default_factory=dict)
    epoch_end: Mapping[str, Reader] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    gradients: Mapping[str, str] = field(default_factory=dict)
    labeled_strong: float | None = None
    prepare: Callable[[Any, Arrays], None] | None = None
    before_step: Callable[[Any, Arrays, int], None] | None = None
    hyper: Mapping[str, Any] = field(default_factory=dict)


class IdentityNetwork:
    """Takes images [b, C + D] for their own logits and features.

    Args:
        num_classes: C.
        heads: names of heads whose output is the features.
    """

    def __init__(self, num_classes: int, heads: Sequence[str] = ()):
        self.num_classes, self.heads = num_classes, tuple(heads)

    def __call__(
        self, views: Mapping[str, Tensor], needs_gradient: Collection[str], update_statistics: bool = True
    ) -> dict[str, Output]:
        """See `ferbench.contracts.Network`."""
        return {view: self._output(x if view in needs_gradient else x.detach()) for view, x in views.items()}

    def teacher(self, views: Mapping[str, Tensor], training: bool = False) -> dict[str, Output]:
        """See `ferbench.contracts.Network`."""
        return {view: self._output(x.detach()) for view, x in views.items()}

    def head(self, name: str, features: Tensor) -> Tensor:
        """See `ferbench.contracts.Network`."""
        return features

    def _output(self, x: Tensor) -> Output:
        features = x[:, self.num_classes :]
        return Output(x[:, : self.num_classes], features, dict.fromkeys(self.heads, features))


@dataclass(frozen=True)
class Folder:
    """A folder of reference vectors.

    Attributes:
        path: the folder.
        meta: ``meta.json``.
        inputs: ``inputs.npz``.
    """

    path: Path
    meta: dict[str, Any]
    inputs: Arrays

    @classmethod
    def open(cls, path: str | Path) -> Folder:
        """Read the inputs.

        Raises:
            UserError: ``meta.json`` or ``inputs.npz`` is missing or damaged.
        """
        path = Path(path)
        try:
            meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
            inputs = read_arrays(path / "inputs.npz")
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"the folder holds no reference vectors: {error}",
                where=path,
                expected="meta.json and inputs.npz",
            ) from error
        return cls(path, meta, inputs)

    def of_run(self, run: str) -> Arrays:
        """What the file of a run holds, or nothing if there is none."""
        file = self.path / f"{run}.npz"
        return read_arrays(file) if file.is_file() else {}

    def context(self) -> RunContext:
        """What the parts of an algorithm are told of the run."""
        meta = self.meta
        counts = np.bincount(self.inputs["lb_targets_all"], minlength=meta["C"])
        return RunContext(
            num_classes=meta["C"],
            num_labeled=meta["N_labelled"],
            num_unlabeled=meta["N_unlabelled"],
            max_iters=meta["num_train_iter"],
            class_counts=tuple(counts.tolist()),
            labeled_batch=meta["batch_labelled"],
            unlabeled_batch=meta["batch_unlabelled"],
        )


def read_arrays(file: Path) -> Arrays:
    """All arrays of an ``.npz``."""
    with np.load(file) as arrays:
        return dict(arrays)


def replay(folder: Folder, run: str, recipe: Recipe, rows: slice = slice(None)) -> Arrays:
    """One recorded run through the registered algorithm.

    Args:
        folder: the vectors.
        run: its name.
        recipe: how its algorithm is built and read.
        rows: rows of each batch that this process takes.

    Returns:
        The arrays of the run, by the names of the vectors' README.
    """
    told = folder.meta["runs"].get(run) or dict(epochs=1, logit_scale=1.0, hp=recipe.hyper)
    given = folder.of_run(run)
    steps, epoch = folder.meta["steps"], folder.meta["steps"] // told["epochs"]
    config = recipe.config({**told["hp"], "epoch_length": epoch})
    algorithm = build(ALGORITHMS, config, f"the recipe of {run}")
    bind(algorithm, folder.context())
    if recipe.prepare is not None:
        recipe.prepare(algorithm, given)
    network = IdentityNetwork(folder.meta["C"], recipe.features)
    recorder = Recorder(recipe)
    for step in range(steps):
        if recipe.before_step is not None:
            recipe.before_step(algorithm, given, step)
        batch, leaves = _batch(algorithm, folder, recipe, step, told["logit_scale"], rows)
        result = algorithm.step(network, batch)
        recorder.add(algorithm, result)
        if step in folder.meta["grad_steps"]:
            if result.loss.requires_grad:  # mixtures are of images without a graph
                result.loss.backward()
            recorder.add_gradients(algorithm, leaves)
        if (step + 1) % epoch == 0:
            _end_epoch(algorithm, folder, step, step // epoch, told["logit_scale"])
            recorder.add_epoch(algorithm)
    return recorder.arrays()


def replay_selection(folder: Folder, alpha: float = 3.0) -> Arrays:
    """What joins the labeled set after the last recorded epoch (``usb_crest_selection``; not listed in ``meta.json``).

    Args:
        folder: the vectors.
        alpha: of the sampling rates, which are the public implementation's (``geometric``).
    """
    counts = torch.tensor(folder.context().class_counts)
    confidence, label = torch.from_numpy(folder.inputs["full_ulb_logits"][-1]).softmax(dim=1).max(dim=1)
    order = frequency_order(counts)
    picked = most_confident(confidence, label, sampling_rates(counts, alpha, "geometric"), order)
    return {
        "picked_index": picked.numpy(),
        "picked_label": label[picked].numpy(),
        "class_order": order.numpy(),
        "pred_count": label.bincount(minlength=len(counts)).numpy(),
        "lb_class_dist": (counts.double() / counts.sum()).numpy(),
        "alpha": np.asarray(alpha),
    }


def replay_epochs(folder: Folder, run: str, config: Callable[[int], dict[str, Any]]) -> Arrays:
    """One run whose file carries inputs of its own (``in_*``): epochs of steps, each with a pass over the labeled set.

    Args:
        folder: the vectors.
        run: name of the file; nothing else of it is read.
        config: from the iterations of an epoch to the config of the registered algorithm, whose rule is a
            `DynamicThreshold`.

    Returns:
        The arrays of the run, by the names of the vectors' README.
    """
    given = folder.of_run(run)
    epochs, steps, size, classes = given["in_u1"].shape
    logits = torch.from_numpy(given["in_train_logits"])
    labels = torch.from_numpy(given["in_train_targets"].astype(np.int64))
    context = RunContext(
        classes,
        len(labels),
        num_unlabeled=size,
        max_iters=epochs * steps,
        class_counts=tuple(torch.bincount(labels, minlength=classes).tolist()),
    )
    algorithm = build(ALGORITHMS, config(steps), f"the recipe of {run}")
    bind(algorithm, context)
    rule, network = algorithm.threshold, IdentityNetwork(classes)
    made: dict[str, list[Tensor]] = {name: [] for name in (*EPOCH_ARRAYS, *STEP_ARRAYS)}
    for iteration in range(epochs * steps):
        epoch, step = divmod(iteration, steps)
        if step == 0:
            made["threshold_used"].append(rule.thresholds().clone())
        result = algorithm.step(network, _epoch_batch(algorithm, given, (epoch, step), iteration))
        found = result.pseudo_labels
        losses = (*(result.parts[p] for p in ("supervised", "unsupervised", "low_confidence")), result.loss)
        for name, value in zip(STEP_ARRAYS, (found.weight, found.label, *losses), strict=True):
            made[name].append(value.detach())
        if rule.labeled_pass.due(iteration + 1):
            for rows in torch.arange(len(labels)).split(size):
                rule.see_labeled(logits[epoch][rows].softmax(dim=1), labels[rows], rows)
            made["derived_num_correct"].append(rule.counts.clone())
            rule.finish_labeled_pass()
            made["derived_mean_conf_correct"].append(rule.margin.clone())
            made["threshold_after_epoch"].append(rule.thresholds().clone())
    arrays = {name: torch.stack(values).numpy() for name, values in made.items()}
    for name in STEP_ARRAYS:
        arrays[name] = arrays[name].reshape(epochs, steps, *arrays[name].shape[1:])
    constants = {"beta": rule.beta, "floor": rule.floor, "first_epoch": rule.epoch_origin}
    return {**arrays, **{name: np.asarray(value) for name, value in constants.items()}}


def _epoch_batch(algorithm: Algorithm, given: Arrays, at: tuple[int, int], iteration: int) -> Batch:
    """The batch of a step of `replay_epochs`."""

    def images(logits: str, features: str | None = None) -> Tensor:
        row = torch.from_numpy(given[logits][at])
        return row if features is None else torch.cat([row, torch.from_numpy(given[features][at])], dim=1)

    recorded = {"weak": ("in_u1", "in_f1"), "weak2": ("in_u2", "in_f2"), "strong": ("in_us", None)}
    labels = torch.from_numpy(given["in_yx"][at].astype(np.int64))
    return Batch(
        labeled={"weak": images("in_x")},
        target=labels,
        labels=labels,
        unlabeled={view: images(*recorded[view]) for view in algorithm.views.unlabeled},
        index=torch.arange(len(given["in_u1"][at])),
        labeled_index=torch.arange(len(labels)),
        iteration=iteration,
    )


def _batch(
    algorithm: Algorithm, folder: Folder, recipe: Recipe, step: int, scale: float, rows: slice
) -> tuple[Batch, dict[str, Tensor]]:
    """The batch of a step, and its images as leaves."""

    def leaf(view: str, factor: float = 1.0) -> Tensor:
        logits, features, _ = VIEWS[view]
        row = torch.from_numpy(folder.inputs[logits][step][rows]) * (scale * factor)
        if recipe.features:
            row = torch.cat([row, torch.from_numpy(folder.inputs[features][step][rows])], dim=1)
        return row.requires_grad_()

    views = algorithm.views
    leaves = {"labeled": leaf("labeled"), **{view: leaf(view) for view in views.unlabeled}}
    labeled = {"weak": leaves["labeled"]}
    if "strong" in views.labeled:
        assert recipe.labeled_strong is not None
        labeled["strong"] = leaves["labeled_strong"] = leaf("labeled", recipe.labeled_strong)
    labels = torch.from_numpy(folder.inputs["y_lb"][step][rows].astype(np.int64))
    batch = Batch(
        labeled=labeled,
        target=labels,
        labels=labels,
        unlabeled={view: leaves[view] for view in views.unlabeled},
        index=torch.from_numpy(folder.inputs["idx_ulb"][step][rows].astype(np.int64)),
        labeled_index=torch.from_numpy(folder.inputs["idx_lb"][step][rows].astype(np.int64)),
        iteration=step,
    )
    return batch, leaves


def _end_epoch(algorithm: Algorithm, folder: Folder, step: int, epoch: int, scale: float) -> None:
    if epoch >= len(folder.inputs["full_ulb_logits"]):
        return
    probs = (torch.from_numpy(folder.inputs["full_ulb_logits"][epoch]) * scale).softmax(dim=1)
    for part in parts_of(algorithm):
        if part.unlabeled_pass is not None and part.unlabeled_pass.due(step + 1):
            part.see_unlabeled(probs, torch.arange(len(probs)))
            part.finish_unlabeled_pass()


class Recorder:
    """Collects what a run produces.

    Args:
        recipe: what to read beside the usual.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.lists: dict[str, list[np.ndarray]] = {}

    def add(self, algorithm: Algorithm, result: StepResult) -> None:
        """Read a step."""
        found = result.pseudo_labels
        if found is not None:
            self._put("mask", found.weight)
            self._put("pseudo_label", found.target)
            if "probs_aligned" not in self.recipe.state:
                self._put("probs_aligned", found.probs)
            self._put("util_ratio", found.weight.float().mean())
            self._put("max_prob", found.confidence)
        losses = {"sup_loss": "supervised", "unsup_loss": "unsupervised", **self.recipe.losses}
        for array, parts in losses.items():
            factors = {parts: 1.0} if isinstance(parts, str) else parts
            values = [factor * result.parts[p] for p, factor in factors.items() if p in result.parts]
            if values:
                self._put(array, torch.stack(values).sum())
        self._put("total_loss", result.loss)
        for array, read in self.recipe.state.items():
            self._put(array, read(algorithm))

    def add_gradients(self, algorithm: Algorithm, leaves: Mapping[str, Tensor]) -> None:
        """Read the gradients at the images of a step, and what is recorded with them."""
        for array, read in self.recipe.sampled.items():
            self._put(array, read(algorithm))
        names = {view: name for view, (_, _, name) in VIEWS.items()} | {"labeled_strong": "lb_s"}
        for view, leaf in leaves.items():
            name = self.recipe.gradients.get(view, names[view])
            self._put(f"grad_x_{name}", torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)

    def add_epoch(self, algorithm: Algorithm) -> None:
        """Read the end of an epoch."""
        for array, read in self.recipe.epoch_end.items():
            self._put(array, read(algorithm))

    def arrays(self) -> Arrays:
        """Everything, stacked over the steps."""
        return {name: np.stack(values) for name, values in self.lists.items()}

    def _put(self, name: str, value: Any) -> None:
        value = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self.lists.setdefault(name, []).append(value.copy())
