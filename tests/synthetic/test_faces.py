"""Drawing: determinism, and that the geometry carries the expression."""

import cv2
import numpy as np
import pytest

from ferbench.synthetic.expressions import (
    ACTIONS,
    CLASSES,
    MIN_INTENSITY,
    PROTOTYPES,
    express,
    sample_prototype,
)
from ferbench.synthetic.faces import contact_sheet, encode_jpeg, render
from ferbench.synthetic.people import OCCLUSIONS, Conditions, generator, make_identity, sample_conditions

FRONT = Conditions(seed=5)
NOTHING = np.zeros(len(ACTIONS))


def acts(**values: float) -> np.ndarray:
    vector = NOTHING.copy()
    for name, value in values.items():
        vector[list(ACTIONS).index(name)] = value
    return vector


def bare_person():
    """Somebody whose mouth and brows nothing covers."""
    return next(
        p for p in (make_identity(0, i) for i in range(100)) if p.hair_style == "short" and not p.beard
    )


def regions(image: np.ndarray) -> list[np.ndarray]:
    """Brows and eyes, and mouth, each left and right, of a frontal face of 112 px."""
    rows, columns = (slice(20, 58), slice(68, 108)), (slice(16, 56), slice(56, 96))
    return [image[y, x].astype(float) for y in rows for x in columns]


def test_a_face_is_a_pure_function_of_its_arguments():
    conditions = sample_conditions(3, 8)
    np.random.seed(0)
    cv2.setRNGSeed(0)
    first = render(make_identity(3, 1), acts(smile=0.7), conditions)
    np.random.seed(99)
    cv2.setRNGSeed(99)
    second = render(make_identity(3, 1), acts(smile=0.7), conditions)
    assert first.dtype == np.uint8
    assert first.shape == (112, 112, 3)
    np.testing.assert_array_equal(first, second)
    assert encode_jpeg(first, 80) == encode_jpeg(second, 80)


def test_seed_identity_and_moment_change_the_picture():
    noisy = Conditions(seed=5, noise=4.0)
    base = render(make_identity(3, 1), NOTHING, noisy)
    assert np.abs(base.astype(int) - render(make_identity(4, 1), NOTHING, noisy)).mean() > 5
    assert np.abs(base.astype(int) - render(make_identity(3, 2), NOTHING, noisy)).mean() > 5
    moved = render(make_identity(3, 1), NOTHING, noisy.moved(moment=1))
    assert 1 < np.abs(base.astype(int) - moved).mean() < 8  # other noise, same scene


@pytest.mark.parametrize("label", range(1, len(CLASSES)))
def test_every_prototype_differs_from_neutral_in_brows_eyes_or_mouth(label):
    person = bare_person()
    neutral = regions(render(person, NOTHING, FRONT))
    for prototype in PROTOTYPES[CLASSES[label]]:
        shown = regions(render(person, np.clip(prototype.vector(), -1, 1.3), FRONT))
        changed = max(np.abs(a - b).mean() for a, b in zip(shown, neutral, strict=True))
        assert changed > 4.0, prototype


def test_a_stronger_expression_lies_further_from_neutral():
    person = bare_person()
    rest, calm = NOTHING, np.zeros(len(ACTIONS))
    neutral = render(person, rest, FRONT).astype(float)
    surprise = PROTOTYPES["Surprise"][0].vector()
    away = [
        np.abs(render(person, express(surprise, i, rest, calm), FRONT) - neutral).mean()
        for i in (0.25, 0.5, 1.0)
    ]
    assert away[0] < away[1] < away[2]


def test_one_sided_actions_move_their_side_only():
    person = bare_person()
    straight = render(person, NOTHING, FRONT).astype(float)
    wink = np.abs(render(person, acts(closed=1.0, one_sided=1.0), FRONT) - straight)
    assert wink[:, 60:].sum() > 20 * (wink[:, :52].sum() + 1)
    mirrored = np.abs(render(person, acts(closed=1.0, one_sided=-1.0), FRONT) - straight)
    assert mirrored[:, :52].sum() > 20 * (mirrored[:, 60:].sum() + 1)


def test_yaw_moves_the_nose_and_mouth_to_the_side_it_turns_to():
    person = bare_person()
    mouth = acts(jaw=1.0, part=1.0)  # a dark hole that is easy to find
    centres = []
    for yaw in (-0.3, 0.0, 0.3):
        image = render(person, mouth, FRONT.moved(yaw=yaw, ambient=1.0)).astype(int)
        dark = (image.sum(axis=2) < 160) & (np.arange(112)[:, None] > 72) & (np.arange(112)[:, None] < 100)
        dark[:, :30] = dark[:, 82:] = False  # background
        centres.append(np.nonzero(dark)[1].mean())
    assert centres[0] < centres[1] - 1 < centres[2] - 2


@pytest.mark.parametrize("kind", OCCLUSIONS[1:])
def test_occluders_cover_something_but_not_everything(kind):
    person = make_identity(0, 1)
    free = render(person, NOTHING, FRONT).astype(int)
    covered = render(person, NOTHING, FRONT.moved(occlusion=kind, occluder=(0.3, 0.5, 0.5)))
    share = (np.abs(covered - free).max(axis=2) > 12).mean()
    assert 0.01 < share < 0.6


def test_express_keeps_actions_within_what_a_face_can_do():
    rng = generator(1)
    for label in range(len(CLASSES)):
        for _ in range(20):
            rest = make_identity(1, label).rest_vector()
            vector = express(sample_prototype(label, rng), 1.0, rest, 3 * rng.standard_normal(len(ACTIONS)))
            assert vector.min() >= -1
            assert vector.max() <= 1.3
            assert vector[list(ACTIONS).index("jaw")] >= 0
    mild = express(PROTOTYPES["Anger"][0].vector(), MIN_INTENSITY, NOTHING, NOTHING)
    np.testing.assert_allclose(mild, MIN_INTENSITY * PROTOTYPES["Anger"][0].vector())


def test_prototype_shares_sum_to_one_and_name_known_actions():
    for prototypes in PROTOTYPES.values():
        assert sum(p.share for p in prototypes) == pytest.approx(1)
        assert all(set(p.means) <= set(ACTIONS) for p in prototypes)


@pytest.mark.parametrize("size", [48, 160])
def test_other_sizes(size):
    small = render(make_identity(0, 3), acts(smile=1.0), FRONT.moved(blur=1.0), size)
    usual = render(make_identity(0, 3), acts(smile=1.0), FRONT.moved(blur=1.0), 112)
    assert small.shape == (size, size, 3)
    again = cv2.resize(small, (112, 112), interpolation=cv2.INTER_LINEAR)
    assert np.abs(again.astype(int) - usual).mean() < 8  # the same picture, not another crop


def test_contact_sheet_is_a_grid_of_classes_by_identities():
    sheet = contact_sheet(0, rows=3, cols=2, size=48)
    assert sheet.shape == (3 * 48, 3 * 48, 3)
    np.testing.assert_array_equal(sheet, contact_sheet(0, rows=3, cols=2, size=48))
    assert (sheet != contact_sheet(1, rows=3, cols=2, size=48)).any()
