"""FERV39k, clips of 22 scenes.

Wang et al., "FERV39k: A Large-Scale Multi-Scene Dataset for Facial Expression Recognition in Videos", CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ferbench.data.datasets.clips import Clip, ClipFrames
from ferbench.data.datasets.listed import bad_line, split_lines
from ferbench.data.text import shown
from ferbench.registry import DATASETS

FERV39K_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
GET_FERV39K = "ask for FERV39k at https://wangyanckxx.github.io/Proj_CVPR2022_FERV39k.html"


@DATASETS.register_module()
class FERV39k(ClipFrames):
    """Frames of FERV39k's face crops, by its one official division of all scenes.

    Lists: ``4_setups/All_scenes/train_All.csv``, lines of ``Action/Sad/0010 Sad`` without a header. Frames:
    ``2_ClipsforFaceCrop/Action/Sad/0010/``. The layout is the one that public code of several groups reads. Which clips
    come from one video is not known: a group is a clip. See `ClipFrames` for the arguments and for what labels of single
    frames mean.
    """

    source = FERV39K_CLASSES
    get = GET_FERV39K
    folds = range(1, 2)

    def lists(self, part: str, fold: int) -> Sequence[str]:
        """See `ClipFrames.lists`."""
        return tuple(f"{base}All_scenes/{part}_All.csv" for base in ("4_setups/", "FERV39k/4_setups/", ""))

    def places(self) -> Sequence[str]:
        """See `ClipFrames.places`."""
        crops = "2_ClipsforFaceCrop"
        return (f"{crops}/{crops}", crops, f"FERV39k/{crops}")

    def frames_wanted(self) -> str:
        """See `ClipFrames.frames_wanted`."""
        return "unpack 2_ClipsforFaceCrop, or name the folder of <scene>/<expression>/<clip> as `images`"

    def rows(self, path: Path) -> Iterator[Clip]:
        """See `ClipFrames.rows`."""
        codes = {name: i for i, name in enumerate(self.source)}
        for line, (clip, label) in split_lines(path, 2, "<scene>/<expression>/<clip> <expression>"):
            if label not in codes:
                raise bad_line(
                    path, line, f"label {shown(label)} is not known", "one of " + ", ".join(self.source)
                )
            yield Clip(clip, line, codes[label])
