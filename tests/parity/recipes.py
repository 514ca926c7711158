"""Which registered algorithm reproduces which recorded run; one entry per algorithm (and plug-in) of ``meta.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ferbench.contracts import Evidence
from parity.replay import Folder, Recipe

Hyper = dict[str, Any]
FEATURES = 12  # dimensions of the recorded embeddings


def _fixmatch(hp: Hyper) -> dict[str, Any]:
    # The recorded library drops the temperature of soft targets.
    return dict(type="FixMatch", threshold=hp["p_cutoff"], temperature=None if hp["hard_label"] else 1.0)


def _flexmatch(hp: Hyper) -> dict[str, Any]:
    return dict(type="FlexMatch", threshold=hp["p_cutoff"], warmup=hp["thresh_warmup"])


def _pseudolabel(hp: Hyper) -> dict[str, Any]:
    return dict(type="PseudoLabel", threshold=hp["p_cutoff"], ramp=hp["unsup_warm_up"])


def _pimodel(hp: Hyper) -> dict[str, Any]:
    return dict(type="PiModel", lambda_u=hp["ulb_loss_ratio"], ramp=hp["unsup_warm_up"])


def _mixmatch(hp: Hyper) -> dict[str, Any]:
    return dict(
        type="MixMatch",
        temperature=hp["T"],
        alpha=hp["mixup_alpha"],
        lambda_u=hp["ulb_loss_ratio"],
        ramp=hp["unsup_warm_up"],
    )


def _remixmatch(hp: Hyper) -> dict[str, Any]:
    weights = dict(unmixed=hp["kl_loss_ratio"], rotation=hp["rot_loss_ratio"])
    return dict(_mixmatch(hp), type="ReMixMatch", **weights)


def _recorded_mixtures(algorithm: Any, given: Mapping[str, np.ndarray]) -> None:
    algorithm.mixer.draw = lambda _rows, step: (float(given["beta_draw"][step]), given["perm"][step])


def _comatch(hp: Hyper) -> dict[str, Any]:
    # Smoothing from the second epoch on.
    memory = dict(batches=hp["queue_batch"], start=max(hp["epoch_length"], hp["queue_batch"] + 1))
    return dict(
        type="CoMatch",
        threshold=hp["p_cutoff"],
        temperature=hp["T"],
        alpha=hp["smoothing_alpha"],
        length=hp["da_len"],
        dim=FEATURES,
        memory=memory,
        contrast=dict(weight=hp["contrast_loss_ratio"], threshold=hp["contrast_p_cutoff"]),
    )


def _crmatch(hp: Hyper) -> dict[str, Any]:
    return dict(type="CRMatch", threshold=hp["p_cutoff"], rotation=hp["rot_loss_ratio"])


def _simmatch(hp: Hyper) -> dict[str, Any]:
    bank = dict(temperature=hp["T"], start=hp["epoch_length"], dim=FEATURES)
    return dict(
        type="SimMatch",
        threshold=hp["p_cutoff"],
        alpha=hp["smoothing_alpha"],
        weight=hp["in_loss_ratio"],
        length=hp["da_len"],
        bank=bank,
    )


def _recorded_bank(algorithm: Any, given: Mapping[str, np.ndarray]) -> None:
    _keep_aligned(algorithm, given)
    algorithm.alignments[1].bank.keys[:-1] = torch.from_numpy(given["mem_bank_init"]).t()


def _keep_aligned(algorithm: Any, given: Mapping[str, np.ndarray]) -> None:
    """What is recorded as aligned comes from the first alignment, before pseudo-labels are smoothed."""
    algorithm.alignments[0].register_forward_hook(lambda rule, _evidence, out: setattr(rule, "made", out))


def _dash(hp: Hyper) -> dict[str, Any]:
    # rho was preset to 1.1 and lowered every ten "epochs" of one iteration; that library decides on the same number.
    rule = dict(rho_init=1.1, interval=10 * hp["epoch_length"], factor=hp["C"])
    return dict(type="Dash", gamma=hp["gamma"], rho_min=hp["rho_min"], temperature=hp["T"], rule=rule)


def _freematch(hp: Hyper) -> dict[str, Any]:
    return dict(
        type="FreeMatch",
        momentum=hp["ema_p"],
        quantile=0.8 if hp["use_quantile"] else None,
        cap=0.95 if hp["clip_thresh"] else None,
        fairness=hp["ent_loss_ratio"],
    )


def _softmatch(hp: Hyper) -> dict[str, Any]:
    return dict(
        type="SoftMatch",
        n_sigma=hp["n_sigma"],
        momentum=hp["ema_p"],
        per_class=hp["per_class"],
        statistics="aligned",
        align_to="uniform" if hp["dist_uniform"] else "model",
    )


def _adamatch(hp: Hyper) -> dict[str, Any]:
    return dict(type="AdaMatch", threshold=hp["p_cutoff"], momentum=hp["ema_p"])


def _uda(hp: Hyper) -> dict[str, Any]:
    # The recorded library does not apply the temperature, judges by the top class and divides by the batch.
    loss = dict(type="AnnealedCrossEntropy", schedule=hp["tsa_schedule"], confidence="top", divide_by="batch")
    return dict(type="UDA", threshold=hp["p_cutoff"], temperature=1.0, supervised_loss=loss)


def _refixmatch(hp: Hyper) -> dict[str, Any]:
    # The recorded library takes a softmax of the probabilities.
    term = dict(type="LowConfidenceDivergence", temperature=hp["T"], of_probs=True)
    return dict(type="ReFixMatch", threshold=hp["p_cutoff"], terms=[term])


def _defixmatch(hp: Hyper) -> dict[str, Any]:
    return dict(type="DeFixMatch", threshold=hp["p_cutoff"], lambda_u=1.0)


def _labeled_selection(algorithm: Any, given: Mapping[str, np.ndarray]) -> None:
    """Keep what DeFixMatch selects of the labeled images."""
    term = algorithm.terms[1]
    term.register_forward_hook(lambda module, steps, _: setattr(module, "seen", module.selected(*steps)))


def _debiasedpl(hp: Hyper) -> dict[str, Any]:
    # The recorded plug-in was built with this momentum, and leaves its running mean at 1/C.
    return dict(
        type="DebiasedPL", threshold=hp["p_cutoff"], tau=hp["debiaspl_tau"], momentum=hp["debiaspl_ema_p"]
    )


def _debiasedpl_official(hp: Hyper) -> dict[str, Any]:
    return dict(type="DebiasedPL", threshold=hp["threshold"], tau=hp["tau"], momentum=hp["momentum"])


def _adacm(epoch_length: int) -> dict[str, Any]:
    return dict(type="AdaCM", rule=dict(epoch_length=epoch_length))


def _ssmfar(epoch_length: int) -> dict[str, Any]:
    # Recorded with the losses of Ada-CM, "only for convenience"; threshold, mask and views are SS-MFAR's.
    losses = dict(lambda_u=1.0, terms=[dict(type="LowConfidenceContrast")])
    return dict(type="SSMFAR", rule=dict(epoch_length=epoch_length), **losses)


#: Runs whose files carry their own inputs: name -> config for `replay_epochs`.
EPOCH_RECIPES = {"adacm_7class": _adacm, "ssmfar_8class": _ssmfar}


def _darp(hp: Hyper) -> dict[str, Any]:
    # Refined labels serve from the epoch after the warm-up on.
    warmup = (hp["darp_warmup_epochs"] + 1) * hp["epoch_length"]
    solver = dict(warmup=warmup, interval=hp["darp_num_refine_iter"], alpha=hp["darp_alpha"])
    return dict(type="DARP", base=_fixmatch(hp), **solver, refinery=dict(rounds=hp["darp_iter_T"]))


def _watch_refined(algorithm: Any, given: Mapping[str, np.ndarray]) -> None:
    def keep(rule: Any, seen: tuple[Evidence], made: torch.Tensor) -> None:
        rule.seen = rule.refined[seen[0].index]

    algorithm.matching.target.register_forward_hook(keep)


def _saw(hp: Hyper) -> dict[str, Any]:
    return dict(type="SAW", base=_fixmatch(hp), rule=dict(epoch_length=hp["epoch_length"]))


def _adsh(hp: Hyper) -> dict[str, Any]:
    rule = dict(epoch_length=hp["epoch_length"])
    return dict(type="Adsh", base=_fixmatch(hp), threshold=hp["adsh_tau_1"], rule=rule)


def _crest(hp: Hyper) -> dict[str, Any]:
    # The run lies within the fourth of its generations, as the README of the vectors says (an exponent of 0.7; no
    # hyper-parameter does), and nothing has been picked: one generation of that exponent.
    t = 1 - 3 / (hp["crest_num_gens"] - 1) * (1 - hp["crest_dist_align_t"])
    align = dict(type="ProgressiveAlignment", generations=1, first=t, last=t)
    return dict(type="CReST", base=dict(_fixmatch(hp), alignment=align), generations=1)


#: (algorithm, plug-in on top of it or None) -> recipe.
RECIPES: dict[tuple[str, str | None], Recipe] = {
    ("comatch", None): Recipe(
        _comatch,
        prepare=_keep_aligned,
        features=("projection",),
        gradients={"strong": "ulb_s_0", "strong2": "ulb_s_1"},
        losses={"contrast_loss": "contrast"},
        state={
            "probs_aligned": lambda a: a.alignments[0].made,
            "p_model_queue_mean": lambda a: a.alignments[0].p_model,
            "queue_ptr": lambda a: a.alignments[1].pointer,
            "queue_probs_sum": lambda a: a.alignments[1].values.sum(dim=0),
            "queue_feats_sum": lambda a: a.alignments[1].keys.sum(dim=0),
        },
    ),
    ("adamatch", None): Recipe(
        _adamatch,
        state={
            "p_model": lambda a: a.alignments[0].p_model,
            "p_target": lambda a: a.alignments[0].p_target,
            "relative_cutoff_derived": lambda a: a.threshold.cutoff,
        },
    ),
    ("dash", None): Recipe(
        _dash,
        state={
            "rho": lambda a: a.threshold.rho,
            "rho_update_cnt": lambda a: a.threshold.drops + 1,
            "use_hard_label": lambda a: a.threshold.rho <= a.threshold.rho_min,
        },
    ),
    ("defixmatch", None): Recipe(
        _defixmatch,
        labeled_strong=0.7,
        losses={
            "sup_loss": {"supervised": 0.5, "labeled_strong": 0.5},
            "anti_unsup_loss": "labeled_consistency",
        },
        prepare=_labeled_selection,
        state={
            "mask_lb": lambda a: a.terms[1].seen[0],
            "pseudo_label_lb": lambda a: a.terms[1].seen[1],
            "util_ratio_lb": lambda a: a.terms[1].seen[0].mean(),
        },
    ),
    ("fixmatch", "adsh"): Recipe(
        _adsh,
        state={"adsh_s": lambda a: a.matching.threshold.s},
        epoch_end={"epoch_end_adsh_s": lambda a: a.matching.threshold.s},
    ),
    ("fixmatch", "crest"): Recipe(
        _crest,
        state={
            "p_model": lambda a: a.matching.alignments[0].p_model,
            "p_target": lambda a: a.matching.alignments[0].p_target,
        },
    ),
    ("fixmatch", "darp"): Recipe(
        _darp, prepare=_watch_refined, state={"pseudo_refine_batch": lambda a: a.matching.target.seen}
    ),
    ("fixmatch", "saw"): Recipe(
        _saw,
        state={
            "x_lb_weights": lambda a: a.matching.supervised_loss.class_weight,
            "x_ulb_weights": lambda a: a.matching.consistency.class_weight,
        },
        epoch_end={
            "epoch_end_x_lb_weights": lambda a: a.matching.supervised_loss.class_weight,
            "epoch_end_x_ulb_weights": lambda a: a.matching.consistency.class_weight,
        },
    ),
    ("fixmatch", "debiaspl"): Recipe(_debiasedpl, state={"p_hat": lambda a: a.alignments[0].p_model}),
    ("crmatch", None): Recipe(
        _crmatch,
        features=("distance",),
    ),
    ("fixmatch", None): Recipe(_fixmatch),
    ("flexmatch", None): Recipe(
        _flexmatch,
        state={
            "classwise_acc": lambda a: a.threshold.status,
            "selected_label": lambda a: a.threshold.record[:-1],
        },
    ),
    ("freematch", None): Recipe(
        _freematch,
        state={
            "time_p": lambda a: a.threshold.level,
            "p_model": lambda a: a.threshold.p_model,
            "label_hist": lambda a: a.terms[0].label_hist,
        },
        losses={"ent_loss": "fairness"},
    ),
    ("mixmatch", None): Recipe(_mixmatch, prepare=_recorded_mixtures),
    ("pimodel", None): Recipe(_pimodel),
    ("pseudolabel", None): Recipe(_pseudolabel),
    ("remixmatch", None): Recipe(
        _remixmatch,
        prepare=_recorded_mixtures,
        gradients={"strong": "ulb_s_0", "strong2": "ulb_s_1"},
        state={
            "p_model": lambda a: a.alignments[0].p_model,
            "p_target": lambda a: a.alignments[0].p_target,
        },
    ),
    ("refixmatch", None): Recipe(_refixmatch),
    ("simmatch", None): Recipe(
        _simmatch,
        prepare=_recorded_bank,
        features=("projection",),
        state={
            "probs_aligned": lambda a: a.alignments[0].made,
            "p_model_queue_mean": lambda a: a.alignments[0].p_model,
            # Rows not yet written bear class 0 in the recorded library.
            "labels_bank": lambda a: a.alignments[1].bank.labels[:-1].clamp(min=0),
        },
        sampled={"mem_bank": lambda a: a.alignments[1].bank.keys[:-1].t()},
    ),
    ("softmatch", None): Recipe(
        _softmatch,
        state={
            "mu": lambda a: a.threshold.mean[0],
            "var": lambda a: a.threshold.variance[0],
            "p_model": lambda a: a.alignments[0].p_model,
            "p_target": lambda a: a.alignments[0].p_target,
        },
    ),
    ("uda", None): Recipe(_uda, state={"tsa": lambda a: a.supervised_loss.ceiling}),
}

#: Runs that meta.json does not list.
UNLISTED: dict[str, Recipe] = {
    f"debiaspl_official_{name}": Recipe(
        _debiasedpl_official, state={"qhat_after": lambda a: a.alignments[0].p_model}, hyper=hyper
    )
    for name, hyper in {
        "tau04_m999": dict(tau=0.4, momentum=0.999, threshold=0.8),
        "tau1_m90": dict(tau=1.0, momentum=0.9, threshold=0.95),
    }.items()
}


def recipes_of(folder: Folder) -> dict[str, Recipe]:
    """The recipe of every run of a folder that a registered algorithm reproduces, by the run's name."""
    listed = {run: (told["algorithm"], told["imb"]) for run, told in folder.meta["runs"].items()}
    return {run: RECIPES[key] for run, key in listed.items() if key in RECIPES} | UNLISTED
