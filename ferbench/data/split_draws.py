"""How a split draws units (items or groups): at random, by class, exactly or as near as groups allow."""

from __future__ import annotations

import hashlib

import numpy as np

from ferbench.errors import UserError

COMPETITORS = 8
"""Random groups that compete for each place: few, so that seeds differ; several, so that proportions fit."""
MOST_EXCHANGES = 200_000
"""Pairs of groups tried for an exchange; where there are more, adding alone comes near."""


def random_keys(seed: int, purpose: str, count: int) -> np.ndarray:
    """uint64 [count]. NumPy keeps the raw stream of a bit generator for ever, that of `permutation` not."""
    digest = hashlib.sha256(f"ferbench-split/1/{seed}/{purpose}".encode()).digest()
    return np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big"))).random_raw(count)


def number_by_appearance(groups: np.ndarray) -> np.ndarray:
    """int64 [N]: groups numbered in the order in which they first appear, whatever their numbers were."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


def class_table(units: np.ndarray, labels: np.ndarray, usable: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 [units, C]: usable items of each class in each unit."""
    num_units = int(units.max()) + 1 if len(units) else 0
    flat = units[usable] * num_classes + labels[usable]
    return np.bincount(flat, minlength=num_units * num_classes).reshape(num_units, num_classes)


def proportional(total: int, have: np.ndarray) -> np.ndarray:
    """int64 [C]: ``total`` shared out like ``have`` by largest remainder, at least 1 wherever there is any.

    If ``total`` is more than there is, every share is ``total`` (which the caller finds to be too many).
    """
    count = int(have.sum())
    if total > count:
        return np.where(have > 0, total, 0)
    ideal = total * have / max(count, 1)
    shares = np.maximum(np.floor(ideal).astype(np.int64), np.minimum(have, 1))
    while shares.sum() != total:
        step = 1 if shares.sum() < total else -1
        movable = shares < have if step > 0 else shares > 1
        if not movable.any():
            raise UserError(
                f"{total} images cannot hold one of each class", expected=f"at least {int((have > 0).sum())}"
            )
        shares[np.argmax(np.where(movable, step * (ideal - shares), -np.inf))] += step
    return shares


def take_exactly(table: np.ndarray, want: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """bool [units]: in the order of ``keys``, each unit that fits what is still open of ``want``."""
    order = np.argsort(keys, kind="stable")
    sizes = table.sum(axis=1)
    if sizes.max(initial=0) <= 1:  # a unit is one item: the first `want` of each class, at once
        taken = np.zeros(len(table), bool)
        for c, number in enumerate(want.tolist()):
            taken[order[table[order, c] > 0][:number]] = True
        return taken
    taken = _take_what_fits(table, want, order)
    if not np.array_equal(table[taken].sum(axis=0), want):  # single images, taken last, can fill any gap
        taken = _take_what_fits(table, want, np.lexsort((keys, -sizes)))
    return taken


def _take_what_fits(table: np.ndarray, want: np.ndarray, order: np.ndarray) -> np.ndarray:
    taken = np.zeros(len(table), bool)
    still = want.tolist()
    for unit, row in zip(order.tolist(), table[order].tolist(), strict=True):
        if any(row) and all(n <= s for n, s in zip(row, still, strict=True)):
            taken[unit] = True
            still = [s - n for n, s in zip(row, still, strict=True)]
            if not any(still):
                break
    return taken


def take_nearest(table: np.ndarray, want: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """bool [units]: whole units whose class counts come near ``want`` (see `BudgetSplit`)."""
    scaled = table / np.where(
        want > 0, want, max(int(want.max(initial=0)), 1)
    )  # relative to the budget of each class
    missing = (want > 0).astype(float)  # relative deviation still open
    queue = [int(u) for u in np.argsort(keys, kind="stable") if table[u].any()]
    taken: list[int] = []
    while queue:
        costs = ((missing - scaled[queue[:COMPETITORS]]) ** 2).sum(axis=1)
        if costs.min() >= (missing**2).sum():
            costs = ((missing - scaled[queue]) ** 2).sum(
                axis=1
            )  # none of the few helps: is there any that does?
            if costs.min() >= (missing**2).sum():
                break
        taken.append(queue.pop(int(costs.argmin())))
        missing = missing - scaled[taken[-1]]
        queue = queue[COMPETITORS - 1 :] + queue[: COMPETITORS - 1]  # losers wait at the back
    while 0 < len(taken) * len(queue) <= MOST_EXCHANGES:
        change = scaled[taken][:, None] - scaled[queue][None]  # [taken, queue, C]
        costs = ((missing + change) ** 2).sum(axis=2)
        if costs.min() >= (missing**2).sum() - 1e-12:
            break
        out, into = np.unravel_index(int(costs.argmin()), costs.shape)
        missing = missing + change[out, into]
        taken[out], queue[into] = queue[into], taken[out]
    result = np.zeros(len(table), bool)
    result[taken] = True
    return result
