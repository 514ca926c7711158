from __future__ import annotations

import json

import numpy as np
import pytest

from ferbench.data.augment.base import Transform
from ferbench.data.views import MEDIUM, STRONG, WEAK, Views
from ferbench.errors import UserError
from ferbench.functional.randomness import uniforms
from ferbench.registry import TRANSFORMS

ALL = ("weak", "weak2", "medium", "medium2", "strong", "strong2")


@TRANSFORMS.register_module(force=True)
class PaintDraws:
    """Test double: writes its numbers into the picture."""

    def __init__(self, draws: int = 2):
        self.draws = draws

    def __call__(self, image, u):
        result = image.copy()
        result[0, : self.draws, 0] = (u * 256).astype(np.uint8)
        return result


@TRANSFORMS.register_module(force=True)
class WithoutDraws:
    """Test double: a transform in torchvision's manner."""

    def __call__(self, image):
        return image


@TRANSFORMS.register_module(force=True)
class RaisesAtBuild:
    """Test double: another package's constructor."""

    def __init__(self):
        raise ValueError("probs must be given")


def faces(count: int = 6, size: int = 40) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (size + b, size, 3), dtype=np.uint8) for b in range(count)]


def render(views: Views, rows: list[int], names=ALL, seed: int = 5, epoch: int = 0) -> dict[str, np.ndarray]:
    images = faces()
    return views.render(
        [images[r] for r in rows], names, seed, np.full(len(rows), epoch), np.array([100 + r for r in rows])
    )


def test_shapes_and_layout():
    rendered = render(Views(32), [0, 1, 2])
    assert tuple(rendered) == ALL
    for view in rendered.values():
        assert (view.shape, view.dtype) == ((3, 32, 32, 3), np.uint8)
        assert view.flags.c_contiguous


def test_empty_batch():
    empty = np.zeros(0, np.int64)
    assert Views(32).render([], ["weak"], 0, empty, empty)["weak"].shape == (0, 32, 32, 3)


def test_an_item_does_not_depend_on_its_batch_or_on_other_views():
    views = Views(32)
    whole = render(views, [0, 1, 2, 3, 4, 5])
    part = render(Views(32), [4, 1], names=["strong", "weak2"])
    for name, view in part.items():
        np.testing.assert_array_equal(view, whole[name][[4, 1]])


@pytest.mark.parametrize("changed", [{"seed": 6}, {"epoch": 1}], ids=str)
def test_seed_and_epoch_change_the_views(changed):
    old, new = render(Views(32), [0, 1, 2, 3]), render(Views(32), [0, 1, 2, 3], **changed)
    for name in ALL:
        assert (old[name] != new[name]).any()


def test_second_view_has_the_same_recipe_and_other_numbers():
    paint = [{"type": "PaintDraws", "draws": 3}]
    views = Views(40, weak=paint, medium=paint, strong=paint)
    rendered = views.render(faces()[:1] * 2, ALL, 9, np.array([0, 4]), np.array([7, 7]))
    for name in ALL:
        u = uniforms(9, np.array([0, 4]), np.array([7, 7]), f"view {name}", 3)
        np.testing.assert_array_equal(rendered[name][:, 0, :3, 0], (u * 256).astype(np.uint8))
        np.testing.assert_array_equal(rendered[name][:, 1:], np.repeat(faces()[0][None, 1:], 2, axis=0))
    assert len({rendered[name].tobytes() for name in ALL}) == 6


def test_each_transform_gets_its_own_numbers():
    recipe = [
        {"type": "PaintDraws", "draws": 1},
        {"type": "HorizontalFlip", "probability": 0},
        {"type": "PaintDraws", "draws": 2},
    ]
    rendered = Views(40, weak=recipe).render(faces()[:1], ["weak"], 1, np.zeros(1, int), np.zeros(1, int))[
        "weak"
    ]
    u = uniforms(1, np.zeros(1, int), np.zeros(1, int), "view weak", 4)[0]
    assert rendered[0, 0, :2, 0].tolist() == (u[2:] * 256).astype(np.uint8).tolist()


def test_recipes_are_applied_step_by_step_to_the_scaled_image():
    views = Views(40)
    image = faces(1)[0]  # 40 x 40 already: no scaling
    recipes = {"weak": (WEAK, 3), "medium": ((*WEAK, *MEDIUM), 5), "strong2": (STRONG, 12)}
    for name, (recipe, draws) in recipes.items():
        u = uniforms(2, np.array([3]), np.array([4]), f"view {name}", draws)[0].tolist()
        expected = image
        for config in recipe:
            step = TRANSFORMS.build(dict(config))
            expected = step(expected, np.array([u.pop(0) for _ in range(step.draws)]))
        assert u == []
        found = views.render([image], [name], 2, np.array([3]), np.array([4]))[name][0]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ALL)
def test_each_view_has_the_recipe_of_its_own_kind(name):
    """A recipe of one kind leaves a mark of its own; ``medium2`` once could be given another kind's without notice."""
    colours = {"weak": 1, "medium": 2, "strong": 3}
    views = Views(40, **{kind: [{"type": "PaintDraws", "draws": draws}] for kind, draws in colours.items()})
    u = uniforms(2, np.array([3]), np.array([4]), f"view {name}", colours[name.removesuffix("2")])[0]
    image = np.zeros((40, 40, 3), np.uint8)
    found = views.render([image], [name], 2, np.array([3]), np.array([4]))[name][0]
    assert found[0, : len(u), 0].tolist() == (u * 256).astype(np.uint8).tolist()
    assert not found[0, len(u) :].any()


@pytest.mark.parametrize("name", ALL)
def test_a_second_view_s_default_recipe_is_the_first_s(name):
    """With the default recipes, too: each view anew by hand, of its own random numbers."""
    kind = name.removesuffix("2")
    recipe = {"weak": WEAK, "medium": (*WEAK, *MEDIUM), "strong": STRONG}[kind]
    image, place = faces(1)[0], (np.array([3]), np.array([4]))
    steps = [TRANSFORMS.build(dict(config)) for config in recipe]
    u = uniforms(2, *place, f"view {name}", sum(step.draws for step in steps))[0].tolist()
    expected = image
    for step in steps:
        expected = step(expected, np.array([u.pop(0) for _ in range(step.draws)]))
    np.testing.assert_array_equal(Views(40).render([image], [name], 2, *place)[name][0], expected)


def test_inputs_are_not_modified():
    images = faces()
    copies = [image.copy() for image in images]
    for image in images:
        image.flags.writeable = False
    for size in (32, 40):
        Views(size).render(images, ALL, 0, np.zeros(6, int), np.arange(6))
    for image, copy in zip(images, copies, strict=True):
        np.testing.assert_array_equal(image, copy)


def test_working_size_for_crops_without_padding():
    crop = [{"type": "RandomCrop", "ratio": 0.875}]
    views = Views(56, weak=crop, strong=crop, working_size=64)
    assert render(views, [0])["weak"].shape == (1, 56, 56, 3)
    with pytest.raises(UserError, match=r"weak views come out as uint8 \[49, 49, 3\]"):
        Views(56, weak=crop)


@pytest.mark.parametrize("place", [0, 1])
def test_a_transform_that_returns_no_image_is_named(place):
    """Also in the middle of a recipe, where the next one would trip over it."""

    class Forgets(Transform):
        draws = 0

        def __call__(self, image, u):
            image[:] = 0  # and returns nothing

    TRANSFORMS.register_module(name="Forgets", force=True, module=Forgets)
    recipe = [{"type": "HorizontalFlip"}]
    recipe.insert(place, {"type": "Forgets"})
    with pytest.raises(UserError, match="Forgets returned NoneType") as error:
        Views(32, strong=recipe)
    assert error.value.where == "views.strong"


def test_a_medium_view_is_a_weak_one_and_one_operation_unless_told_otherwise():
    """It follows the weak recipe of the config, so that both come out at the same size."""
    crop = ({"type": "RandomCrop", "ratio": 0.875},)
    views = Views(56, weak=iter(crop), strong=crop, working_size=64)
    kinds = [config["type"] for config in views.as_dict()["medium"]]
    assert kinds == ["RandomCrop", "RandAugment"]
    own = Views(40, medium=[{"type": "PaintDraws"}])
    rendered = render(own, [0], names=["medium"])["medium"][0]
    np.testing.assert_array_equal(rendered[1:], faces()[0][1:])


def test_as_dict_spells_out_defaults_and_survives_json():
    short = Views(48, weak=[{"type": "PadCrop"}, {"type": "HorizontalFlip"}])
    assert short.as_dict() == Views(48).as_dict()
    assert json.loads(json.dumps(short.as_dict())) == {
        "size": 48,
        "working_size": 48,
        "weak": [{"type": "PadCrop", "padding": 0.125}, {"type": "HorizontalFlip", "probability": 0.5}],
        "medium": [
            {"type": "PadCrop", "padding": 0.125},
            {"type": "HorizontalFlip", "probability": 0.5},
            {"type": "RandAugment", "num_ops": 1, "operations": None},
        ],
        "strong": [
            {"type": "PadCrop", "padding": 0.125},
            {"type": "HorizontalFlip", "probability": 0.5},
            {"type": "RandAugment", "num_ops": 3, "operations": None},
            {"type": "Cutout", "max_side": 0.5},
        ],
    }
    assert Views(**short.as_dict()).as_dict() == short.as_dict()


def test_check_names_both_sides():
    Views(32).check(["weak", "strong"], "algorithm 'FixMatch'")
    with pytest.raises(
        UserError,
        match=r"algorithm 'X' asks for the view\(s\) mild(.|\n)*weak, weak2, medium, medium2, strong, strong2",
    ):
        Views(32).check(["weak", "mild"], "algorithm 'X'")
    with pytest.raises(UserError, match="mild"):
        render(Views(32), [0], names=["mild"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size=0"),
        ({"size": "48"}, "size='48'"),
        ({"size": 48, "working_size": 1.5}, "working_size=1.5"),
        ({"size": 32, "weak": [{"type": "RaisesAtBuild"}]}, "RaisesAtBuild cannot be built: probs"),
        ({"size": 32, "weak": [{"type": "WithoutDraws"}]}, "`draws` is None"),
        ({"size": 32, "weak": [{"type": "PadCrp"}]}, "PadCrop"),
        ({"size": 32, "strong": [{"padding": 0.1}]}, "has no type"),
        (
            {"size": 32, "strong": [{"type": "PadCrop", "paddin": 0.1}]},
            r"paddin(.|\n)*views.strong(.|\n)*padding",
        ),
        ({"size": 32, "strong": [{"type": "PadCrop", "padding": 0.9}]}, "padding=0.9"),
        ({"size": 32, "weak": [{"type": "Resize", "size": 16}]}, "come out as"),
    ],
    ids=str,
)
def test_config_errors(arguments, message):
    with pytest.raises(UserError, match=message):
        Views(**arguments)


@pytest.mark.parametrize("recipe", [{"type": "HorizontalFlip"}, "HorizontalFlip", ["HorizontalFlip"], [5]])
@pytest.mark.parametrize("kind", ["weak", "medium", "strong"])
def test_a_recipe_of_another_kind_than_a_list_of_transforms_is_named(kind, recipe):
    with pytest.raises(UserError, match="no list of transforms") as caught:
        Views(16, **{kind: recipe})
    assert caught.value.where == f"views.{kind}"
