"""Views: the differently augmented versions of one image that an algorithm asks for."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ferbench.data.augment.base import CHANNELS, Transform
from ferbench.data.augment.geometric import resize
from ferbench.errors import UserError, described
from ferbench.functional.randomness import uniforms
from ferbench.registry import TRANSFORMS

#: The default recipes, those of FixMatch and USB: shift with mirrored borders and flip; the same, then
#: RandAugment and cutout.
WEAK: tuple[dict[str, Any], ...] = ({"type": "PadCrop", "padding": 0.125}, {"type": "HorizontalFlip"})
STRONG: tuple[dict[str, Any], ...] = (
    *WEAK,
    {"type": "RandAugment", "num_ops": 3},
    {"type": "Cutout", "max_side": 0.5},
)
#: What a medium view has beyond a weak one, where the config does not say: one operation, as in SequenceMatch's public code.
MEDIUM: tuple[dict[str, Any], ...] = ({"type": "RandAugment", "num_ops": 1},)


class Views:
    """Makes the views of a batch of images.

    An image is decoded and scaled once; each view is made from that array by its recipe. A pixel of a view is
    a pure function of (seed, epoch, index, name of the view): neither the number of workers, nor the place in
    the batch, nor which other views are asked for changes it. A name that ends in 2 has the same recipe and
    other random numbers.

    Args:
        size: side of the views in pixels.
        weak: configs of the transforms (registry TRANSFORMS) of ``weak`` and ``weak2``; None: `WEAK`.
        medium: the same for ``medium`` and ``medium2``; None: the weak recipe, then `MEDIUM`.
        strong: the same for ``strong`` and ``strong2``; None: `STRONG`.
        working_size: side to which an image is scaled before the recipes; None: `size`. Larger where a recipe
            crops without padding, e.g. ``Views(112, weak=[dict(type="RandomCrop", ratio=0.875), ...],
            working_size=128)``.

    Raises:
        UserError: an unknown or ill-configured transform, or a recipe that does not end at `size`.
    """

    available: tuple[str, ...] = ("weak", "weak2", "medium", "medium2", "strong", "strong2")

    def __init__(
        self,
        size: int,
        weak: Iterable[Mapping[str, Any]] | None = None,
        strong: Iterable[Mapping[str, Any]] | None = None,
        working_size: int | None = None,
        medium: Iterable[Mapping[str, Any]] | None = None,
    ):
        self.size = size
        self.working_size = size if working_size is None else working_size
        for name in ("size", "working_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise UserError(f"views: {name}={value!r}", expected="a number of pixels, at least 1")
        weak = list(WEAK if weak is None else weak)
        recipes = {
            "weak": weak,
            "medium": (*weak, *MEDIUM) if medium is None else medium,
            "strong": STRONG if strong is None else strong,
        }
        for kind, recipe in recipes.items():
            if isinstance(recipe, str | Mapping) or not all(isinstance(c, Mapping) for c in recipe):
                raise UserError(
                    f"a recipe is no list of transforms: {recipe!r}",
                    where=f"views.{kind}",
                    expected="[dict(type='...', ...), ...]",
                )
        configs = {kind: [dict(config) for config in recipe] for kind, recipe in recipes.items()}
        self._configs = {kind: [_explicit(c, kind) for c in recipe] for kind, recipe in configs.items()}
        built = {kind: [build_transform(c, kind) for c in recipe] for kind, recipe in configs.items()}
        for kind, transforms in built.items():
            self._require_size(transforms, kind)
        self._transforms = {name: built[name.removesuffix("2")] for name in self.available}

    def check(self, requested: Iterable[str], asked_by: str) -> None:
        """Raise a UserError if one of the `requested` views does not exist.

        Args:
            requested: names of views.
            asked_by: who needs them, for the message, e.g. ``algorithm 'DTM'``.
        """
        missing = sorted(set(requested) - set(self.available))
        if missing:
            raise UserError(
                f"{asked_by} asks for the view(s) {', '.join(missing)}, which the data does not offer",
                expected="views among " + ", ".join(self.available),
                fix=f"change the views that {asked_by} declares",
            )

    def render(
        self,
        images: Sequence[np.ndarray],
        names: Sequence[str],
        seed: int,
        epochs: np.ndarray,
        indices: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Make the views of a batch.

        Args:
            images: B decoded images, uint8 RGB [H, W, 3] of any size; not modified.
            names: the views wanted, among `available`.
            seed: the run's seed.
            epochs: int64 [B], how often each image has been seen.
            indices: int64 [B], each image's stable index.

        Returns:
            For each name uint8 RGB [B, size, size, 3].

        Raises:
            UserError: an unknown name.
        """
        self.check(names, "the call of render")
        numbers = {
            name: uniforms(
                seed, epochs, indices, f"view {name}", sum(t.draws for t in self._transforms[name])
            )
            for name in names
        }
        views = {name: np.empty((len(images), self.size, self.size, CHANNELS), np.uint8) for name in names}
        for b, image in enumerate(images):
            base = resize(image, self.working_size)
            for name, view in views.items():
                view[b] = _run(self._transforms[name], base, numbers[name][b])
        return views

    def as_dict(self) -> dict[str, Any]:
        """What decides the views, random numbers apart, defaults spelled out: for the run's protocol."""
        return {"size": self.size, "working_size": self.working_size, **self._configs}

    def _require_size(self, transforms: Sequence[Transform], kind: str) -> None:
        probe = np.zeros((self.working_size, self.working_size, CHANNELS), np.uint8)
        result = probe
        for transform in transforms:
            result = transform(result, np.zeros(transform.draws))
            if not isinstance(result, np.ndarray):
                raise UserError(
                    f"{type(transform).__name__} returned {described(result)}", where=f"views.{kind}",
                    expected="an image: uint8 [H, W, 3]",
                )  # fmt: skip
        expected = (self.size, self.size, CHANNELS)
        if result.shape != expected or result.dtype != np.uint8:
            raise UserError(
                f"the {kind} views come out as {result.dtype} {list(result.shape)}",
                where=f"views.{kind}, from images scaled to working_size={self.working_size}",
                expected=f"uint8 {list(expected)}",
                fix="set views.working_size so that the crop ends at views.size, "
                "or end the recipe with dict(type='Resize', size=...)",
            )


def _run(transforms: Iterable[Transform], image: np.ndarray, u: np.ndarray) -> np.ndarray:
    used = 0
    for transform in transforms:
        image = transform(image, u[used : used + transform.draws])
        used += transform.draws
    return image


def build_transform(config: Mapping[str, Any], kind: str) -> Transform:
    """The transform of a config.

    Args:
        config: its type and arguments.
        kind: the recipe it belongs to, for messages.

    Raises:
        UserError: it cannot be built, or is no transform.
    """
    try:
        transform = TRANSFORMS.build(config)
    except (TypeError, ValueError, AssertionError) as error:  # what constructors of other packages raise
        raise UserError(
            f"{config['type']} cannot be built: {error}",
            where=f"views.{kind}",
            expected="arguments it accepts",
        ) from error
    draws = getattr(transform, "draws", None)
    if not (callable(transform) and isinstance(draws, int) and draws >= 0):
        raise UserError(
            f"{config['type']!r} is not a transform that ferbench can use: its `draws` is {draws!r}",
            where=f"views.{kind}",
            expected="an integer `draws` and __call__(image, u), see ferbench.data.augment.base.Transform",
            fix="`ferbench list` shows the transforms that have both",
        )
    return transform


def _explicit(config: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The config with the defaults of its transform filled in, so that equal recipes are written equally."""
    where = f"views.{kind}"
    if not isinstance(config.get("type"), str):
        raise UserError(
            f"a transform has no type: {dict(config)!r}", where=where, expected="dict(type='...', ...)"
        )
    arguments = {key: value for key, value in config.items() if key != "type"}
    signature = inspect.signature(TRANSFORMS.get(config["type"]))
    try:
        bound = signature.bind(**arguments)
    except TypeError as error:
        raise UserError(
            f"{config['type']}: {error}", where=where, expected=f"{config['type']}{signature}"
        ) from None
    bound.apply_defaults()
    return {"type": config["type"], **bound.arguments}
