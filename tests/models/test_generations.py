"""A classifier that starts anew: weights, and the state of the rules, but for what is handed on."""

from __future__ import annotations

import torch

from ferbench.testing.experiment import Experiment


def test_start_anew_resets_all_but_what_lasts() -> None:
    base = dict(type="FlexMatch", threshold=0.3, warmup=False)
    run = Experiment(dict(type="CReST", base=base, generations=2))
    initial = {name: value.clone() for name, value in run.state().items()}
    for _ in range(3):
        run.step()
    rule = "algorithm.base.threshold.counts"
    assert not torch.equal(run.state()[rule], initial[rule])
    run.step()  # the last of the first generation
    changed = {name for name, value in run.state().items() if not torch.equal(value, initial[name])}
    assert changed == {"algorithm.base.terms.0.label", "algorithm.base.terms.0.share"}
    assert not run.optimizer.state
    run.step()
    assert not torch.equal(run.state()[rule], initial[rule])


def test_without_generations_nothing_is_copied() -> None:
    run = Experiment(
        dict(type="CReST", base=dict(type="FixMatch", threshold=0.3), generations=2, restart=False)
    )
    assert not hasattr(run.model, "_initial")
    for _ in range(4):
        run.step()
    assert run.optimizer.state
