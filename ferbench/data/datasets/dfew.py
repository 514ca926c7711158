"""DFEW, single-labeled clips of films.

Jiang et al., "DFEW: A Large-Scale Database for Recognizing Dynamic Facial Expressions in the Wild", ACM MM 2020.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ferbench.data.datasets.clips import Clip, ClipFrames
from ferbench.data.datasets.listed import bad_line, parse_code
from ferbench.data.text import csv_rows, shown, whole_number
from ferbench.registry import DATASETS

DFEW_CLASSES = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")  # codes 1 to 7
GET_DFEW = "ask for DFEW at https://dfew-dataset.github.io/ and unpack its part 2 (clips and divisions)"


@DATASETS.register_module()
class DFEW(ClipFrames):
    """Frames of DFEW's single-labeled clips, by the official five divisions.

    Lists: ``EmoLabel_DataSplit/train(single-labeled)/set_1.csv``, rows of ``video_name,label`` with labels 1 to 7.
    Frames: ``Clip/clip_224x224/00001/`` or, where that is missing, ``Clip/clip_224x224_16f/00001/`` (clips that their
    authors brought to 16 frames by interpolation). The layout is the one that public code of several groups reads.
    See `ClipFrames` for the arguments and for what labels of single frames mean.
    """

    source = DFEW_CLASSES
    get = GET_DFEW
    folds = range(1, 6)

    def lists(self, part: str, fold: int) -> Sequence[str]:
        """See `ClipFrames.lists`."""
        base = "EmoLabel_DataSplit"
        return (
            f"{base}/{part}(single-labeled)/set_{fold}.csv",
            f"{base}/{part}(single-labeled)/{part}_set_{fold}.csv",
            f"{base}/{part}/set_{fold}.csv",
        )

    def places(self) -> Sequence[str]:
        """See `ClipFrames.places`."""
        return tuple(
            f"{base}{name}"
            for base in ("Clip/", "")
            for name in ("clip_224x224", "clip_224x224_16f", "clip_224x16f")
        )

    def rows(self, path: Path) -> Iterator[Clip]:
        """See `ClipFrames.rows`."""
        for line, row in csv_rows(path, "the list of DFEW", GET_DFEW):
            cells = [cell.strip(" ") for cell in row]
            if line == 1 and cells == ["video_name", "label"]:
                continue
            number = whole_number(cells[0])
            if len(cells) != 2 or number is None or number < 0:
                raise bad_line(path, line, f"no clip and label: {shown(','.join(row))}", "video_name,label")
            yield Clip(f"{number:05d}", line, parse_code(cells[1], range(1, 8), path, line) - 1)
