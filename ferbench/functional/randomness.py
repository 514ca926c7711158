"""Random numbers as pure functions of what they are for: no generator's state to keep or to replay.

A number is found by hashing (seed, stream, epoch, index, draw), as in counter-based generators (Salmon et
al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Any worker, process or resumed run that asks for
the same thing gets the same number, whatever was asked for before.
"""

from __future__ import annotations

import json
import operator
from hashlib import blake2b

import numpy as np

# Weyl increment and multipliers of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014; finaliser: Stafford's mix
# 13).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


def derive_seed(*parts: str | int) -> int:
    """Stable 64-bit hash of a sequence of names and integers, the same on every machine and Python version.

    Use it to give each consumer of randomness its own seed, e.g. ``derive_seed(seed, "sampler", "labeled")``.
    ``"1"`` and ``1`` differ, and so do ``("ab", "c")`` and ``("a", "bc")``.

    Returns:
        An integer in [0, 2**64), which NumPy's and PyTorch's generators accept.

    Raises:
        TypeError: a part is neither a string nor an integer (a float seed would hide a mistake).

    >>> derive_seed(0, "sampler") == derive_seed(0, "sampler"), derive_seed("1") == derive_seed(1)
    (True, False)
    """
    text = json.dumps([part if isinstance(part, str) else operator.index(part) for part in parts])
    return int.from_bytes(blake2b(text.encode("ascii"), digest_size=8).digest(), "little")


def uniforms(seed: int, epochs: np.ndarray, indices: np.ndarray, stream: str | int, draws: int) -> np.ndarray:
    """Uniform random numbers for a batch of items.

    A pure function of its arguments. Row b depends on (seed, stream, epochs[b], indices[b]) alone, and its
    first columns do not depend on `draws`.

    Args:
        seed: the run's seed, any integer.
        epochs: int64 [B], how often each item has been seen by its sampler.
        indices: int64 [B], each item's stable index in its dataset.
        stream: what the numbers are for, e.g. the name of a view; other streams are independent.
        draws: numbers per item.

    Returns:
        float64 [B, draws] in [0, 1), multiples of 2**-53.

    >>> first = uniforms(seed=0, epochs=np.array([0, 0]), indices=np.array([5, 6]), stream="view weak", draws=2)
    >>> alone = uniforms(seed=0, epochs=np.array([0]), indices=np.array([6]), stream="view weak", draws=2)
    >>> first.shape, bool((first[1] == alone[0]).all())
    ((2, 2), True)
    """
    key = np.asarray(derive_seed(seed, stream), np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2**64 is the point
        state = _mix(key + _as_uint64(epochs) * _GOLDEN)
        state = _mix(state + _as_uint64(indices) * _GOLDEN)
        bits = _mix(state[:, None] + np.arange(1, draws + 1, dtype=np.uint64) * _GOLDEN)
    return (bits >> np.uint64(11)) * 2.0**-53


def _as_uint64(integers: np.ndarray) -> np.ndarray:
    return np.asarray(integers, np.int64).view(np.uint64)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: a bijection; each input bit flips each output bit with chance near 1/2."""
    x = (x ^ (x >> np.uint64(30))) * _MULTIPLIER_1
    x = (x ^ (x >> np.uint64(27))) * _MULTIPLIER_2
    return x ^ (x >> np.uint64(31))
