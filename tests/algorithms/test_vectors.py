"""DTM against numbers of Ada-CM's and SS-MFAR's code (tests/data/vectors/README.md); sharpened targets against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ferbench.algorithms import Algorithm, Batch
from ferbench.lifecycle import RunContext, bind
from ferbench.registry import ALGORITHMS
from ferbench.testing import RecordedNetwork

STEPS, CLASSES, UNLABELED = 60, 8, 512


def bound(config: dict, context: RunContext) -> Algorithm:
    algorithm = ALGORITHMS.build(dict(config))
    bind(algorithm, context)
    return algorithm


def recorded(logits: dict, features: dict | None = None) -> RecordedNetwork:
    """A network that answers with these arrays."""
    tensors = (
        {view: torch.from_numpy(x) for view, x in (given or {}).items()} for given in (logits, features)
    )
    return RecordedNetwork(*tensors)


def usb_context() -> RunContext:
    return RunContext(
        CLASSES, num_labeled=64, num_unlabeled=UNLABELED, max_iters=STEPS, class_counts=(8,) * CLASSES
    )


def batch_of(algorithm: Algorithm, step: int, labels: np.ndarray, index: np.ndarray) -> Batch:
    y = torch.from_numpy(labels.astype(np.int64))
    return Batch(
        labeled={"weak": torch.empty(len(labels), 0)},
        target=y,
        labels=y,
        unlabeled={view: torch.empty(len(index), 0) for view in algorithm.views.unlabeled},
        index=torch.from_numpy(index.astype(np.int64)),
        labeled_index=torch.arange(len(labels)),
        iteration=step,
    )


def test_soft_target_is_sharpened_where_the_reference_forgets_to(vectors) -> None:
    """Targets softmax(weak logits / 0.5), mask from unsharpened probabilities: NumPy in float64."""
    given = vectors("inputs")
    algorithm = bound(dict(type="FixMatch", threshold=0.8, temperature=0.5), usb_context())

    def softmax(x: np.ndarray) -> np.ndarray:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    for step in range(20, STEPS, 7):  # nothing passes 0.8 in the first steps
        weak, strong = given["logits_ulb_w"][step], given["logits_ulb_s"][step]
        network = recorded({"labeled": given["logits_lb"][step], "weak": weak, "strong": strong})
        result = algorithm.step(
            network, batch_of(algorithm, step, given["y_lb"][step], given["idx_ulb"][step])
        )
        weak, strong = weak.astype(np.float64), strong.astype(np.float64)
        mask = softmax(weak).max(axis=1) >= 0.8
        per_item = -(softmax(weak / 0.5) * np.log(softmax(strong))).sum(axis=1)
        assert mask.any()
        assert float(result.parts["unsupervised"]) == pytest.approx((per_item * mask).mean(), abs=1e-5)
        result.loss.backward()
        gradient = (softmax(strong) - softmax(weak / 0.5)) * mask[:, None] / len(mask)
        np.testing.assert_allclose(network.gradient("strong"), gradient, atol=1e-6)


@pytest.mark.parametrize(
    ("run", "weak_views"), [("adacm_7class", ("weak", "weak2")), ("ssmfar_8class", ("weak",))]
)
def test_dynamic_threshold_run(run, weak_views, vectors) -> None:
    """Ten epochs: the threshold of each, all masks and labels, the three losses and the gradients."""
    given = vectors(run)
    epochs, steps, size, classes = given["in_u1"].shape
    labels = torch.from_numpy(given["in_train_targets"].astype(np.int64))
    counts = tuple(torch.bincount(labels, minlength=classes).tolist())
    context = RunContext(
        classes, len(labels), num_unlabeled=size, max_iters=epochs * steps, class_counts=counts
    )
    algorithm = bound(
        dict(type="DTM", weak_views=weak_views, rule=dict(epoch_length=steps)),
        context,
    )
    wanted = algorithm.threshold.labeled_pass
    assert (wanted.interval, wanted.weights, wanted.view, wanted.max_items) == (steps, "ema", "weak", None)

    for epoch in range(epochs):
        np.testing.assert_allclose(
            algorithm.threshold.thresholds().numpy(), given["threshold_used"][epoch], atol=1e-6
        )
        for step in range(steps):
            at = (epoch, step)
            second = given["in_u2"][at] if "in_u2" in given else np.full_like(given["in_u1"][at], np.nan)
            network = recorded(
                {
                    "labeled": given["in_x"][at],
                    "weak": given["in_u1"][at],
                    "weak2": second,
                    "strong": given["in_us"][at],
                },
                {"weak": given["in_f1"][at], "weak2": given["in_f2"][at]},
            )
            result = algorithm.step(
                network, batch_of(algorithm, epoch * steps + step, given["in_yx"][at], np.arange(size))
            )
            np.testing.assert_array_equal(result.pseudo_labels.weight.numpy(), given["mask"][at])
            np.testing.assert_array_equal(result.pseudo_labels.label.numpy(), given["pseudo_label"][at])
            names = ("supervised", "unsupervised", "low_confidence")
            for name, part in zip(("loss_x", "loss_u", "loss_s"), names, strict=True):
                assert float(result.parts[part]) == pytest.approx(given[name][at], abs=1e-5), (name, at)
            assert result.loss.item() == pytest.approx(given["loss_total"][at], abs=1e-5), at
            result.loss.backward()
            assert not network.gradient("weak").any()
            assert not network.gradient("weak2").any()
            # Only the features of the unselected items are pulled.
            pulled = network.features["weak"].grad.abs().sum(dim=1).numpy() > 0
            np.testing.assert_array_equal(pulled, given["mask"][at] == 0)

        probs = torch.from_numpy(given["in_train_logits"][epoch]).softmax(dim=1)
        for rows in torch.arange(len(labels)).split(97):  # the pass comes in batches, the last one smaller
            algorithm.threshold.see_labeled(probs[rows], labels[rows])
        np.testing.assert_array_equal(algorithm.threshold.counts.numpy(), given["derived_num_correct"][epoch])
        algorithm.threshold.finish_labeled_pass()
        np.testing.assert_allclose(
            algorithm.threshold.thresholds().numpy(), given["threshold_after_epoch"][epoch], atol=1e-6
        )
