"""Where the files of Aff-Wild2 lie: annotations, crops and test lists, as the challenges' archives unpack."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ferbench.data.datasets.abaw import GET_AFFWILD2
from ferbench.data.datasets.listed import is_name, names_in
from ferbench.data.text import shown, text_lines
from ferbench.errors import UserError, nearest

CHALLENGE_FOLDERS = (
    "EXPR_Classification_Challenge",  # ABAW3 to ABAW5
    "EXPR_Recognition_Challenge",  # ABAW6 and later
    "EXPR_Set", "Expression_Set",  # ABAW1, ABAW2: seven classes, no Other
)  # fmt: skip
_CROPS = "cropped_aligned"  # in the names of the folders of aligned crops
_DEEPEST = 3  # levels below the first at which they may lie
TEST_LISTS = (  # ABAW5; ABAW6 and later
    "Expression_Classification_Challenge_test_set_release.txt", "Expression_Recognition_Challenge_test_set_release.txt",
)  # fmt: skip
ENDINGS = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".JPEG")  # of crops
_MOST_DIGITS = 9  # of a frame number: it fits into 32 bits


def find_annotations(root: Path, part: str) -> Path:
    """The folder of annotation files, e.g. ``.../EXPR_Classification_Challenge/Train_Set``.

    Args:
        root: the data set's folder, an annotation release in it (or the folder that a release was unpacked into), the
            challenge's folder, or the part itself.
        part: ``Train_Set`` or ``Validation_Set``.

    Raises:
        UserError: none found, or several releases of which one must be chosen.
    """
    if root.name == part:
        return root
    bases = [root, *_below(root), *(inner for outer in _below(root) for inner in _below(outer))]
    places = {base / challenge for base in bases for challenge in CHALLENGE_FOLDERS} | {root}
    found = sorted(place / part for place in places if (place / part).is_dir())
    if len(found) > 1:
        raise UserError(
            f"several annotation releases hold {part}: {', '.join(str(f.relative_to(root)) for f in found)}",
            where=root, expected="one", fix=f"name the one to use: annotations={str(found[-1].parent)!r}",
        )  # fmt: skip
    if not found:
        challenges = [place for place in places if place != root and place.is_dir()]
        parts = sorted({p.name for challenge in challenges for p in challenge.iterdir()})
        raise UserError(
            f"no expression annotations with a part {part!r} below this folder", where=root,
            expected=nearest(part, parts) if parts else f"*_ABAW_Annotations/{CHALLENGE_FOLDERS[0]}/{part}",
            fix=f"{GET_AFFWILD2}; or draw synthetic faces instead: python tools/make_synthetic.py OUT",
        )  # fmt: skip
    return found[0]


def _folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones and a Mac's ``__MACOSX``."""
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not e.name.startswith((".", "__MACOSX")) and e.is_dir())


def _below(folder: Path) -> list[Path]:
    """The folders in a folder; none in a folder of crops, which has hundreds of no use here."""
    return [] if _is_crops(folder.name) else [folder / name for name in _folders(folder)]


def _is_crops(name: str) -> bool:
    return _CROPS in name.lower().replace("-", "_").replace(" ", "_")


def find_crops(root: Path, around: bool = True) -> list[Path]:
    """The folders of aligned crops below a folder, ``cropped_aligned`` first.

    The official batches unpack to ``cropped_aligned`` and ``cropped_aligned_new_50_vids``, which lie side by side, one in
    the other, or each in a folder of its batch (``batch1``), with or without a folder around the batches. Any name with
    "cropped_aligned" in it counts. ``around``: also in folders of other names in ``root``; not where those are subjects.
    """
    found: list[Path] = []
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        for name in _folders(folder):
            leads_on = _is_crops(name) or name.lower().startswith("batch")
            if _is_crops(name):
                found.append(folder / name)
            if depth < _DEEPEST and (leads_on or (around and folder == root)):
                pending.append((folder / name, depth + 1))
    return sorted(found, key=lambda place: (place.name != _CROPS, place))


def find_subject(root: Path, subject: str) -> Path | None:
    """A folder of that name up to three levels below ``root``, for a message about one that was looked for in vain."""
    outer = [root, *_below(root)]
    places = outer + [inner for folder in outer[1:] for inner in _below(folder)]
    return next((place / subject for place in places if (place / subject).is_dir()), None)


def find_test_list(root: Path) -> Path:
    """The list of the challenge's test videos, up to two levels below ``root``.

    Raises:
        UserError: there is none, or more than one.
    """
    outer = [root, *_below(root)]
    places = outer + [inner for folder in outer[1:] for inner in _below(folder)]
    found = [place / name for place in places for name in TEST_LISTS if (place / name).is_file()]
    if len(found) != 1:
        raise UserError(
            "several lists of test videos: " + ", ".join(map(str, found)) if found else "there is no list of test videos",
            where=root, expected="names_of_videos_in_each_test_set/" + TEST_LISTS[0],
            fix="name the list as test_list='...': it comes with the challenge's test release",
        )  # fmt: skip
    return found[0]


def read_test_list(file: Path) -> list[str]:
    """Names of the subjects of a list of the challenge: one a line, or ``<subject>/<frame>.jpg`` as its example has them.

    Raises:
        UserError: no list; a line that names no subject (with file and line).
    """
    subjects: dict[str, None] = {}
    for line, text in text_lines(file, "the list of test videos", GET_AFFWILD2):
        name = text.strip(" \t").rstrip(",").partition("/")[0]
        if not name or (line == 1 and name.startswith("image_location")):
            continue
        if not is_name(name) or "," in name or "\\" in name:
            raise UserError(
                f"no name of a video: {shown(text)}", where=f"{file}:{line}", expected="<video> or <video>/00001.jpg",
                fix=GET_AFFWILD2,
            )  # fmt: skip
        subjects[name] = None
    if not subjects:
        raise UserError("the list of test videos is empty", where=file, fix=GET_AFFWILD2)
    return list(subjects)


class Crops(NamedTuple):
    """The crops of one subject.

    Attributes:
        folder: where they lie.
        numbers: int64 [N], frame numbers, sorted.
        digits: how many a number has at least, in a file name: 5 in ``00001.jpg``, 1 in ``1.jpg``.
        ending: of the file names.
        others: how many crops have names of another kind; they are left out.
        has_zero: whether there is a crop of frame 0, as where frames were counted from 0; it is left out.
    """

    folder: Path
    numbers: np.ndarray
    digits: int
    ending: str
    others: int
    has_zero: bool = False

    def path(self, frame: int) -> str:
        """The file of a frame."""
        return f"{self.folder}/{frame:0{self.digits}d}{self.ending}"


def crops_in(folder: Path) -> Crops:
    """The crops ``00001.jpg``, ``00002.jpg``, ... of a folder; or ``1.jpg``, ``00001.png`` ..., if most are called so.

    One kind of names counts, so that a frame has one crop: the one that most have, the official one of equals. Names that
    are no number are not looked at.
    """
    by_ending: dict[str, list[str]] = {ending: [] for ending in ENDINGS}
    for name in names_in(folder):
        stem, ending = os.path.splitext(name)
        if ending in by_ending and stem.isascii() and stem.isdigit() and len(stem) <= _MOST_DIGITS:
            by_ending[ending].append(stem)
    kinds = [
        (ending, digits, [s for s in stems if len(s) == digits or (len(s) > digits and s[0] != "0")])
        for ending, stems in by_ending.items()
        for digits in (5, *sorted({len(s) for s in stems if s[0] == "0"} - {5}), 1)
    ]
    ending, digits, stems = max(kinds, key=lambda kind: len(kind[2]))
    numbers = np.array(sorted(map(int, stems)), np.int64)
    others = sum(map(len, by_ending.values())) - len(numbers)
    return Crops(folder, numbers[numbers > 0], digits, ending, others, bool((numbers == 0).any()))
