"""Initial weights from a local file: verified, loaded whole or not at all, and stated.

Nothing here downloads. A file is named by its path and, so that a run can be repeated, by its sha256.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ferbench.arguments import check_choice
from ferbench.errors import UserError, shortened
from ferbench.models.known import find
from ferbench.models.weight_files import read_weights, verified

if TYPE_CHECKING:
    from ferbench.models.ssl import SSLModel

_log = logging.getLogger(__name__)
_SHOWN = 3
_HEADS = ("fc.", "head.", "classifier.", "last_linear.", "logits.", "_fc.")
_MOST_EXTRA_TOKENS = 5
#: Options that say where weights come from; the protocol has what was loaded.
WHERE_FROM = ("weights", "sha256", "strip_prefix", "allow_missing", "ignore", "channel_order")
#: Where in a checkpoint of ferbench the averaged backbone and head are.
_AVERAGED_BACKBONE, _AVERAGED_HEAD = "ema_network.backbone.", "ema_network.head."


@dataclass(frozen=True)
class LoadedWeights:
    """What came from where.

    Attributes:
        path: the file.
        sha256: its hash.
        prefix: beginning of the names in the file that were used; '' for all of them.
        loaded: how many tensors came from it.
        kept: names of the network's tensors that the file did not give; they keep their initial values.
        left_out: names in the file that the network has no use for.
        folded: whether batch-norm was folded into the weights: a run takes its statistics from its images.
        preprocess: arguments of `ferbench.data.preprocess.Preprocess` that the weights expect; empty: not known.
        channel_order: of the images that the weights were made for.
        warnings: what is doubtful, in sentences.
        resized: names of position embeddings that were interpolated to the network's number of places.
    """

    path: Path
    sha256: str
    prefix: str
    loaded: int
    kept: tuple[str, ...]
    left_out: tuple[str, ...]
    folded: bool = False
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    channel_order: str = "RGB"
    warnings: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For the run record: the file by name and hash, not by its place on this machine."""
        further: dict[str, Any] = {"batch_norm": "statistics of the run's images"} if self.folded else {}
        if self.resized:
            further["resized"] = list(self.resized)
        if self.channel_order != "RGB":
            further["channel_order"] = self.channel_order
        return {
            "file": self.path.name, "sha256": self.sha256, "prefix": self.prefix, "loaded": self.loaded,
            "kept": list(self.kept), **further,
        }  # fmt: skip

    def __str__(self) -> str:
        text = f"loaded {self.loaded} tensors from {self.path} (sha256 {self.sha256[:12]}...)"
        for what, names in (
            ("resized to the network's number of places", self.resized),
            ("not in the file in this shape, so as initialised", self.kept),
            ("in the file, not used", self.left_out),
        ):
            parts = Counter(name.partition(".")[0] for name in names)
            shown = _few(names) if len(names) <= _SHOWN else ", ".join(f"{p} ({n})" for p, n in parts.items())
            text += f"\n    {what}: {shown}" if names else ""
        return text


def load_weights(
    module: nn.Module,
    path: str | Path,
    sha256: str | None = None,
    strip_prefix: str = "",
    allow_missing: Sequence[str] = (),
    ignore: Sequence[str] = (),
    channel_order: str | None = None,
) -> LoadedWeights:
    """Load a state dict into a module. On an error the module is as it was.

    Args:
        module: the network.
        path: a name of `ferbench.models.known` (``ferbench weights list``), or a file: ``.safetensors``, ``.npz``, ``.onnx``
            (its initialisers), dlib's ``.dat``, or what ``torch.save`` wrote: a state dict, a checkpoint that holds one as
            ``state_dict`` or ``model``, or a checkpoint of ferbench, of which the averaged (EMA) weights of the backbone are
            taken. No code in it is run. Position embeddings of square images are resized.
        sha256: hash the file must have, in full or its first digits (at least 8); None: any.
        strip_prefix: use only the tensors whose name begins so, without it (``'backbone.'``, ``'module.'``; in a
            checkpoint of ferbench ``'network.backbone.'`` for the raw weights).
        allow_missing: beginnings of names of the network's tensors that may stay as initialised when the file
            lacks them or has them in another shape.
        ignore: beginnings of names (after the prefix) in the file to leave out. The usual names of classifiers (``fc.``,
            ``head.``, ...) are left out where the network has none of them.
        channel_order: of the images that the weights were trained on; for ``BGR`` (OpenCV, Caffe) the first convolution is
            turned over, so that it takes RGB. Mean and std are still said in the order RGB. None: as the name says, else
            ``RGB``.

    Returns:
        What was loaded, with the file's sha256 for the run record; also logged.

    Raises:
        UserError: no such file, another hash, not a weight file, or weights of another network (names the
            first tensors that are missing, unexpected or of another shape).
    """
    allow_missing, ignore = ((v,) if isinstance(v, str) else tuple(v) for v in (allow_missing, ignore))
    known = find(path)
    warnings: tuple[str, ...] = ()
    own_order = known.channel_order if known else "RGB"
    channel_order = channel_order or own_order
    check_choice(module, ("RGB", "BGR"), channel_order=channel_order)
    if known is not None:
        path, sha256 = known.present(), sha256 or known.sha256
        if channel_order != own_order:
            warnings = (
                f"model.backbone.channel_order is {channel_order}, and {known.name} is of {own_order} images",
            )
        strip_prefix = strip_prefix or known.options.get("strip_prefix", "")
        ignore = (*ignore, *known.options.get("ignore", ()))
    path = Path(path).expanduser()
    found_hash = verified(path, sha256)
    own = module.state_dict()
    content, meta, folded = read_weights(path)
    if known is not None and known.in_order:
        content = _renamed_in_order(content, own)
    if meta is not None:
        strip_prefix = _prefix_in_ours(content, own, strip_prefix)
    elif not strip_prefix and not own.keys() & content.keys():
        strip_prefix = _common_prefix(content, own)
    state = _select(content, strip_prefix, own, path)
    ignored = {name for name in state if name.startswith((*ignore, *_other_heads(own)))}
    resized = _resize_positions(state, own)
    fits, reshaped = _split_by_shape({n: t for n, t in state.items() if n not in ignored and n in own}, own)
    unexpected = [n for n in state if n not in own and n not in ignored]
    absent = [n for n in own if n not in fits]
    # PyTorch before 0.4.1 had no such counter; it only matters for batch-norm without momentum
    kept = [n for n in absent if n.startswith(allow_missing) or n.endswith("num_batches_tracked")]
    missing = [n for n in absent if n not in kept]
    if missing or unexpected:
        raise _misfit(module, path, state, own, missing, unexpected, reshaped)
    if channel_order == "BGR":
        _turn_over(module, fits)
    module.load_state_dict(fits, strict=False)
    left_out = [n for n in content if not n.startswith(strip_prefix) or n[len(strip_prefix) :] in ignored]
    loaded = LoadedWeights(
        path, found_hash, strip_prefix, len(fits), tuple(kept), tuple(left_out), folded,
        known.preprocess if known else (meta or {}).get("preprocess") or {}, channel_order, warnings,
        resized,
    )  # fmt: skip
    _log.info("%s: %s", type(module).__name__, loaded)
    return loaded


def _renamed_in_order(content: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file under the names that the network gives them, in its order; further ones keep theirs."""
    pairs = list(zip(content.items(), own.items(), strict=False))
    if len(pairs) < len(own) or any(theirs.shape != mine.shape for (_, theirs), (_, mine) in pairs):
        return dict(content)  # of another network, as the names will tell
    named = {name: tensor for (_, tensor), (name, _) in pairs}
    return named | dict(list(content.items())[len(pairs) :])


def _other_heads(own: Mapping[str, Tensor]) -> list[str]:
    """Beginnings of names under which files keep the classifier of another task, where the network has no such tensor."""
    return [head for head in _HEADS if not any(name.startswith(head) for name in own)]


def _resize_positions(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Interpolate position embeddings of square images, [1, tokens, D], to the size of the network's; names of those."""
    names = []
    for name, tensor in state.items():
        target = own.get(name)
        if (
            target is None
            or not name.endswith("pos_embed")
            or tensor.ndim != 3
            or tensor.shape == target.shape
        ):
            continue
        for first in range(_MOST_EXTRA_TOKENS + 1):  # class and register tokens have no place
            before, after = (math.isqrt(max(t.shape[1] - first, 0)) for t in (tensor, target))
            if (
                before**2 + first == tensor.shape[1]
                and after**2 + first == target.shape[1]
                and before
                and after
            ):
                places = tensor[:, first:].float().unflatten(1, (before, before)).permute(0, 3, 1, 2)
                places = F.interpolate(places, (after, after), mode="bicubic", antialias=True)
                state[name] = torch.cat([tensor[:, :first].float(), places.flatten(2).transpose(1, 2)], dim=1)
                names.append(name)
                break
    return tuple(names)


def _turn_over(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Let the first convolution take the channels in the opposite order."""
    first = next(
        (f"{n}.weight" for n, m in module.named_modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3),
        None,
    )
    if first not in state:
        raise UserError(
            f"{type(module).__name__} has no convolution of three channels to turn over",
            where="model.backbone.channel_order",
            expected="RGB",
        )
    state[first] = state[first].flip(1)


def start_from(
    model: SSLModel, path: str | Path, classes: Sequence[str] = (), sha256: str | None = None
) -> LoadedWeights:
    """Start a model from a checkpoint of ferbench (its averaged weights), or from a file of a backbone's weights.

    The backbone must fit whole. The head is taken, too, where the checkpoint is of the same classes in the same order and
    has its tensors; else it stays as initialised, as do further heads and the algorithm's state. Call it before the model
    is bound to its run. What was loaded counts as the initial weights in the protocol.

    Args:
        model: its averaged weights begin with the same values.
        path: see `load_weights`; names may begin with ``backbone.`` or ``module.``.
        classes: of the model, in the order of its outputs.
        sha256: see `load_weights`.

    Returns:
        What was loaded; also logged.

    Raises:
        UserError: see `load_weights`.
    """
    network = model.network
    loaded = load_weights(network.backbone, path, sha256)
    content, meta, _ = read_weights(loaded.path)
    own = network.head.state_dict()
    head = {n.removeprefix(_AVERAGED_HEAD): t for n, t in content.items() if n.startswith(_AVERAGED_HEAD)}
    same_head = own.keys() == head.keys() and len(_split_by_shape(head, own)[0]) == len(own)
    if meta is not None and same_head and classes and list(classes) == meta.get("classes"):
        network.head.load_state_dict(head)
        left_out = tuple(n for n in loaded.left_out if not n.startswith(_AVERAGED_HEAD))
        loaded = replace(loaded, loaded=loaded.loaded + len(head), left_out=left_out)
    else:
        loaded = replace(loaded, kept=(*loaded.kept, *(f"head.{name}" for name in own)))
    model.ema_network.load_state_dict(network.state_dict())
    model.warnings += [*loaded.warnings, *model.preprocess.contradictions(loaded.preprocess)]
    network.backbone.loaded = loaded  # type: ignore[assignment] # what `Classifier.initial_weights` reads
    _log.info("the model starts from a checkpoint: %s", loaded)
    return loaded


def _prefix_in_ours(content: Mapping[str, Tensor], own: Mapping[str, Tensor], asked: str) -> str:
    """Beginning of the names, in a checkpoint of ferbench, of the tensors that belong to a backbone (or to what it wraps)."""
    given = bool(asked) and any(name.startswith(asked) for name in content)
    prefix = asked if given else _AVERAGED_BACKBONE
    inside = [name[len(prefix) :] for name in content if name.startswith(prefix)]
    wrapped = inside and all(name.startswith("network.") for name in inside)
    return f"{prefix}network." if wrapped and not any(n.startswith("network.") for n in own) else prefix


def _select(
    state: dict[str, Tensor], prefix: str, own: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    chosen = {name[len(prefix) :]: tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not chosen:
        raise UserError(
            f"no tensor in the weight file has a name that begins with {prefix!r}",
            where=path,
            expected=f"names like {_few(state)}",
            fix=f"set strip_prefix={_common_prefix(state, own)!r}",
        )
    return chosen


def _split_by_shape(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors that fit, and those of another shape or kind with both in words."""
    fits = {n: t for n, t in state.items() if kind_of(t) == kind_of(own[n])}
    reshaped = {
        n: f"{shortened(n)[1:-1]} {_in_words(t)} instead of {_in_words(own[n])}"
        for n, t in state.items()
        if n not in fits
    }
    return fits, reshaped


def kind_of(tensor: Tensor) -> tuple[Any, ...]:
    """What must agree so that one tensor can take the values of another; any float type may become any other."""
    dense = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    return tensor.shape, dense, tensor.is_floating_point(), tensor.is_complex()


def _in_words(tensor: Tensor) -> str:
    plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    kind = "" if plain and tensor.is_floating_point() else f" of {tensor.dtype}, {tensor.layout}"
    return f"{list(tensor.shape)}{kind}"


def _misfit(
    module: nn.Module,
    path: Path,
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    missing: Sequence[str],
    unexpected: Sequence[str],
    reshaped: Mapping[str, str],
) -> UserError:
    absent = [n for n in missing if n not in reshaped]
    wrong = [reshaped[n] for n in missing if n in reshaped]
    lines = [f"the weights are not those of this {type(module).__name__}"]
    for what, names in (
        ("of another shape", wrong),
        ("missing in the file", absent),
        ("unknown to the network", unexpected),
    ):
        if names:
            lines.append(f"  {len(names)} {what}: {_few(names)}")
    prefix = _common_prefix(state, own)
    if prefix:
        fix = f"the names in the file begin with {prefix!r}: set strip_prefix={prefix!r}"
    elif len(missing) + len(unexpected) <= _SHOWN:
        options = [
            f"{o}={names!r}"
            for o, names in (("allow_missing", list(missing)), ("ignore", list(unexpected)))
            if names
        ]
        fix = f"if what is missing may stay as initialised and what is unknown may go: {', '.join(options)}"
    else:
        fix = "use the file made for this architecture, or the architecture it was made for"
    return UserError("\n".join(lines), where=path, expected=f"{len(own)} tensors like {_few(own)}", fix=fix)


def _common_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """The prefix that turns every name of the network into one of the file, or ''."""
    first = next(iter(own), "")
    for name in state:
        prefix = name[: -len(first)] if first and name.endswith(first) else ""
        if prefix and all(prefix + n in state or n.endswith("num_batches_tracked") for n in own):
            return prefix
    return ""


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(shortened(n, 200)[1:-1] for n in names[:_SHOWN]) + (
        f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    )
