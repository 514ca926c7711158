"""MAFW, single expressions.

Liu et al., "MAFW: A Large-scale, Multi-modal, Compound Affective Database for Dynamic Facial Expression Recognition in
the Wild", ACM MM 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ferbench.data.datasets.clips import Clip, ClipFrames
from ferbench.data.datasets.listed import bad_line, split_lines
from ferbench.data.text import shown
from ferbench.registry import DATASETS

MAFW_CLASSES = (
    "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt", "anxiety", "helplessness",
    "disappointment",
)  # fmt: skip
GET_MAFW = "ask for MAFW at https://mafw-database.github.io/MAFW/"


@DATASETS.register_module()
class MAFW(ClipFrames):
    """Frames of MAFW's clips of a single expression, by the official five divisions.

    Lists: ``Train & Test Set/single/no_caption/set_1/train.txt``, lines of ``00001.mp4 anger``. Frames:
    ``data/frames/00001/``. The layout is the one that public code of several groups reads; compound expressions and
    captions are not read. See `ClipFrames` for the arguments and for what labels of single frames mean.
    """

    source = MAFW_CLASSES
    get = GET_MAFW
    folds = range(1, 6)

    def lists(self, part: str, fold: int) -> Sequence[str]:
        """See `ClipFrames.lists`."""
        return tuple(
            f"{base}/single/no_caption/set_{fold}/{part}.txt"
            for base in ("Train & Test Set", "Train_Test_Set", "train_test_set/Train & Test Set")
        )

    def places(self) -> Sequence[str]:
        """See `ClipFrames.places`."""
        return ("data/frames", "frames")

    def rows(self, path: Path) -> Iterator[Clip]:
        """See `ClipFrames.rows`."""
        codes = {name: i for i, name in enumerate(self.source)}
        for line, (video, label) in split_lines(path, 2, "<clip>.mp4 <expression>"):
            if label not in codes:
                raise bad_line(
                    path, line, f"label {shown(label)} is not known", "one of " + ", ".join(self.source)
                )
            yield Clip(video.removesuffix(".mp4"), line, codes[label])
