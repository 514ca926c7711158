"""SimMatch over a whole recorded run, in NumPy: once as the recorded library has it, once as the paper has it.

The library normalises its bank along the batch instead of along the embedding. With that axis the function below gives the
recorded numbers; with the other one, which is the paper's, it must give ours.
"""

from __future__ import annotations

import numpy as np
import pytest

from parity.recipes import RECIPES
from parity.replay import Folder, replay

TEMPERATURE, ALPHA, LENGTH, THRESHOLD, MOMENTUM, EPOCH = 0.1, 0.9, 16, 0.95, 0.7, 15
CORRECTED = ("mask", "unsup_loss", "total_loss", "util_ratio", "mem_bank", "grad_x_ulb_s")


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def run(
    inputs: dict[str, np.ndarray], bank: np.ndarray, axis: int, grad_steps: list[int]
) -> dict[str, np.ndarray]:
    """All steps; ``bank`` [D, K]; ``axis`` of the normalisation of the updated columns [D, B]."""
    bank, labels, queue = bank.astype(np.float64), np.zeros(bank.shape[1], int), np.zeros((LENGTH, 8))
    lists: dict[str, list] = {}
    steps = len(inputs["y_lb"])
    for step in range(steps):
        now = {name: array[step].astype(np.float64) for name, array in inputs.items() if len(array) == steps}
        p = softmax(now["logits_ulb_w"])
        queue = np.concatenate([queue[1:], p.mean(0)[None]])
        p = p * (1 / 8 + 1e-6) / (queue.mean(0) + 1e-6)
        p /= p.sum(1, keepdims=True)
        shares = softmax(now["feat_ulb_w"] @ bank / TEMPERATURE)
        smoothed, target = p, np.zeros_like(shares)
        if step >= EPOCH:
            smoothed = ALPHA * p + (1 - ALPHA) * shares @ np.eye(8)[labels]
            target = shares * p[:, labels]
            target /= target.sum(1, keepdims=True)
        mask = (smoothed.max(1) >= THRESHOLD).astype(np.float64)
        logits, size = now["logits_ulb_s"], len(p)
        strong = softmax(now["feat_ulb_s"] @ bank / TEMPERATURE)
        unsupervised = -(mask * (smoothed * np.log(softmax(logits))).sum(1)).mean()
        instance = -(target * np.log(strong)).sum(1).mean()
        z, y = now["logits_lb"], now["y_lb"].astype(int)
        supervised = -np.log(softmax(z))[np.arange(len(y)), y].mean()
        if step in grad_steps:
            total = target.sum(1, keepdims=True)  # 1, or 0 before the bank is used
            by_logits = mask[:, None] * (softmax(logits) - smoothed) / size
            by_features = (strong * total - target) @ bank.T / TEMPERATURE / size
            lists.setdefault("grad_x_ulb_s", []).append(np.concatenate([by_logits, by_features], axis=1))
        index = now["idx_lb"].astype(int)
        column = MOMENTUM * bank[:, index] + (1 - MOMENTUM) * now["feat_lb"].T
        bank = bank.copy()
        bank[:, index] = column / np.linalg.norm(column, axis=axis, keepdims=True)
        labels[index] = y
        if step in grad_steps:
            lists.setdefault("mem_bank", []).append(bank)
        for name, value in (
            ("mask", mask),
            ("unsup_loss", unsupervised),
            ("total_loss", supervised + unsupervised + instance),
            ("util_ratio", mask.mean()),
        ):
            lists.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in lists.items()}


@pytest.fixture(scope="module")
def folder(repo) -> Folder:
    return Folder.open(repo / "tests/data/vectors")


def test_the_recorded_axis_gives_the_recorded_numbers(folder, vectors) -> None:
    recorded = vectors("simmatch")
    found = run(folder.inputs, recorded["mem_bank_init"], 1, folder.meta["grad_steps"])
    assert set(found) == set(CORRECTED)
    for name, value in found.items():
        np.testing.assert_allclose(recorded[name], value, atol=1e-5, rtol=1e-5, err_msg=name)


def test_the_axis_of_the_embedding_gives_ours(folder, vectors) -> None:
    recorded = vectors("simmatch")
    ours = replay(folder, "simmatch", RECIPES["simmatch", None])
    found = run(folder.inputs, recorded["mem_bank_init"], 0, folder.meta["grad_steps"])
    for name, value in found.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-5, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(np.linalg.norm(ours["mem_bank"], axis=1), 1.0, atol=1e-6)
    # Until the bank is used for the first time there is nothing to correct.
    for name in ("mask", "unsup_loss", "total_loss", "util_ratio"):
        np.testing.assert_allclose(ours[name][:EPOCH], recorded[name][:EPOCH], atol=1e-6, err_msg=name)
        assert not np.allclose(ours[name][EPOCH:], recorded[name][EPOCH:], atol=1e-5), name
    np.testing.assert_allclose(ours["grad_x_ulb_s"][0], recorded["grad_x_ulb_s"][0], atol=1e-6)
