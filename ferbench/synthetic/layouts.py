"""Writes synthetic faces in the layouts of real data: Aff-Wild2, a face-recognition set, class folders."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from ferbench.data.recordio_file import write_recordio
from ferbench.errors import UserError
from ferbench.synthetic import plan
from ferbench.synthetic.expressions import CLASSES
from ferbench.synthetic.plan import Face, Video

MARK = "Synthetic faces drawn by ferbench"
ANNOTATIONS = Path("affwild2/5th_ABAW_Annotations/EXPR_Classification_Challenge")
CROPS = Path("affwild2/cropped_aligned")

_CHUNK = 32
_POOL_PAYS_FROM = 400  # below this many faces, starting processes takes longer than drawing
_BLOCK = 4096
_DRAW_LESS = "choose another disk, or draw less (--small, --videos, --unlabeled)"


@dataclass(frozen=True)
class Amounts:
    """How much to draw.

    Attributes:
        videos: annotated people in videos, about a quarter of them for validation.
        frames: mean frames per video.
        unlabeled: unlabeled faces.
        train, test: images per class in the class folders.
        size: side of a picture in pixels.
        seed: decides everything.
    """

    videos: int = 180
    frames: int = 14
    unlabeled: int = 1800
    train: int = 60
    test: int = 30
    size: int = 112
    seed: int = 0

    def check(self) -> None:
        """Raise a `UserError` for an amount that cannot be drawn."""
        least = {"videos": plan.MIN_VIDEOS, "frames": plan.MIN_FRAMES, "unlabeled": 1, "train": 1, "test": 1,
                 "size": 32, "seed": 0}  # fmt: skip
        most = {"frames": 99_999, "size": 1024}  # five digits number the frames
        for name, low in least.items():
            value, high = getattr(self, name), most.get(name, 10_000_000)
            if not low <= value <= high:
                raise UserError(
                    f"--{name} is {value}", expected=f"{low} to {high}", fix=f"give --{name} {low} or more"
                )


SMALL = Amounts(videos=plan.MIN_VIDEOS, frames=12, unlabeled=48, train=4, test=2)
"""Enough to try the commands: drawn in a few seconds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `run` on a parser."""
    usual = Amounts()
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to create")
    parser.add_argument(
        "--videos", type=int, metavar="N", help=f"annotated people in videos (default {usual.videos})"
    )
    parser.add_argument(
        "--frames", type=int, metavar="N", help=f"mean frames per video (default {usual.frames})"
    )
    parser.add_argument(
        "--unlabeled", type=int, metavar="N", help=f"unlabeled faces (default {usual.unlabeled})"
    )
    parser.add_argument(
        "--train", type=int, metavar="N", help=f"folders/train images per class (default {usual.train})"
    )
    parser.add_argument(
        "--test", type=int, metavar="N", help=f"folders/test images per class (default {usual.test})"
    )
    parser.add_argument("--size", type=int, metavar="PX", help=f"side of a picture (default {usual.size})")
    parser.add_argument(
        "--seed", type=int, metavar="S", help=f"decides everything drawn (default {usual.seed})"
    )
    parser.add_argument("--small", action="store_true", help="a few of everything, drawn in seconds")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT if this command wrote it before"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that draw (default: one per core, 8 at most)"
    )


def run(args: argparse.Namespace) -> int:
    """Draw and write what the options of `add_arguments` say; 0 when all is written.

    Raises:
        UserError: OUT is in the way, no space, or an amount out of range. Nothing is left half-written.
    """
    base = SMALL if args.small else Amounts()
    given = {name: getattr(args, name) for name in vars(base) if getattr(args, name) is not None}
    amounts = Amounts(**{**vars(base), **given})
    count = write(args.out, amounts, overwrite=args.overwrite, workers=args.workers)
    print(f"{count} synthetic faces written to {args.out} (what is where: {args.out / 'README.txt'})")
    return 0


def write(out: Path, amounts: Amounts, *, overwrite: bool = False, workers: int | None = None) -> int:
    """Write all layouts below ``out``, or nothing.

    Args:
        out: folder to create; may exist if empty.
        amounts: how much.
        overwrite: replace an earlier result of this function.
        workers: processes that draw; the pictures do not depend on it.

    Returns:
        How many pictures were drawn.

    Raises:
        UserError: see `run`.
    """
    amounts.check()
    out = out.expanduser().resolve()
    _refuse_what_is_there(out, overwrite)
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _require_space(out.parent, amounts)
        partial.mkdir()
        count = _write_parts(partial, amounts, workers or min(8, os.cpu_count() or 1))
        _publish(partial, out)
    except OSError as error:
        raise _explained(error, out) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return count


def _write_parts(root: Path, amounts: Amounts, workers: int) -> int:
    seed = amounts.seed
    train, val = plan.plan_videos(seed, amounts.videos, amounts.frames)
    unlabeled = [
        (_person_path(i, face), face) for i, face in enumerate(plan.unlabeled_faces(seed, amounts.unlabeled))
    ]
    pictures = [
        *_video_pictures([*train, *val]),
        *unlabeled,
        *_folder_pictures("train", plan.class_folders(seed, amounts.train, plan.FIRST_TRAIN)),
        *_folder_pictures("test", plan.class_folders(seed, amounts.test, plan.FIRST_TEST)),
    ]
    for folder in {path.parent for path, _ in pictures}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    faces = [face for _, face in pictures]
    drawn = _shown(_drawn(faces, seed, amounts.size, workers), len(faces))
    for (path, _), jpeg in zip(pictures, drawn, strict=True):
        (root / path).write_bytes(jpeg)
    _write_annotations(root / ANNOTATIONS / "Train_Set", train)
    _write_annotations(root / ANNOTATIONS / "Validation_Set", val)
    people = [face.identity - plan.FIRST_UNLABELED for _, face in unlabeled]
    jpegs = ((root / path).read_bytes() for path, _ in unlabeled)
    write_recordio(root / "faces.rec", jpegs, layout="insightface", identities=people)
    (root / "property").write_text(f"{people[-1] + 1},{amounts.size},{amounts.size}\n")
    truth = "".join(f"{path.as_posix()},{CLASSES[face.label]}\n" for path, face in unlabeled)
    (root / "faces_truth.csv").write_text("path,label\n" + truth)
    (root / "README.txt").write_text(_read_me(amounts, len(pictures)))
    return len(pictures)


def _video_pictures(videos: Iterable[Video]) -> Iterator[tuple[Path, Face]]:
    for video in videos:
        for frame, face in video.crops:
            yield CROPS / video.name / f"{frame:05d}.jpg", face


def _folder_pictures(part: str, faces: Iterable[Face]) -> Iterator[tuple[Path, Face]]:
    for number, face in enumerate(faces):
        yield Path("folders") / part / CLASSES[face.label] / f"{number:05d}.jpg", face


def _person_path(number: int, face: Face) -> Path:
    return Path("faces") / f"person{face.identity - plan.FIRST_UNLABELED:06d}" / f"{number + 1:06d}.jpg"


def _write_annotations(folder: Path, videos: Iterable[Video]) -> None:
    folder.mkdir(parents=True)
    for video in videos:
        lines = [",".join(CLASSES), *map(str, video.labels)]
        (folder / f"{video.name}.txt").write_text("\n".join(lines) + "\n")


def _jpeg(task: tuple[Face, int, int]) -> bytes:
    face, seed, size = task
    return face.jpeg(seed, size)


def _drawn(faces: list[Face], seed: int, size: int, workers: int) -> Iterator[bytes]:
    """The pictures in order; each depends on its task only, so the number of processes changes nothing."""
    tasks = ((face, seed, size) for face in faces)
    if workers < 2 or len(faces) < _POOL_PAYS_FROM:
        yield from map(_jpeg, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_jpeg, tasks, chunksize=_CHUNK)


def _shown(items: Iterable[bytes], total: int) -> Iterator[bytes]:
    """Pass the items on while a progress bar on stderr shows how many, how fast and how much longer."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("drawing faces"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total, rate="")
        for item in items:
            yield item
            speed = progress.tasks[task].speed
            progress.update(task, advance=1, rate=f"{speed:.0f}/s" if speed else "")


def _refuse_what_is_there(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not _is_ours(out):
        raise UserError(
            "the output folder is not empty and was not written by this command", where=out,
            expected="a folder that does not exist yet", fix="choose another folder",
        )  # fmt: skip
    if not overwrite:
        raise UserError(
            "the output folder already holds synthetic faces", where=out,
            expected="a folder that does not exist yet", fix="choose another folder, or add --overwrite",
        )  # fmt: skip


def _is_ours(out: Path) -> bool:
    note = out / "README.txt"
    return note.is_file() and note.read_text(errors="replace").startswith(MARK)


def _publish(partial: Path, out: Path) -> None:
    """Put the finished folder in place; an earlier one is removed only after that."""
    if not out.exists() or not any(out.iterdir()):
        os.replace(partial, out)
        return
    old = out.parent / f".{out.name}.old-{os.getpid()}"
    os.replace(out, old)
    try:
        os.replace(partial, out)
    except OSError:
        os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _require_space(folder: Path, amounts: Amounts) -> None:
    """Refuse early what would not fit; a disk that fills up meanwhile is caught while writing."""
    per_face = 4500 * (amounts.size / 112) ** 2 + _BLOCK
    stills = (amounts.train + amounts.test) * len(CLASSES)
    needed = int(per_face * (amounts.videos * amounts.frames + 2 * amounts.unlabeled + stills))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"about {needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free", where=folder,
            expected="enough free disk space", fix=_DRAW_LESS,
        )  # fmt: skip


def _explained(error: OSError, out: Path) -> UserError:
    where = error.filename or out
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            "the disk is full; nothing was left behind", where=out.parent,
            expected="enough free disk space", fix=_DRAW_LESS,
        )  # fmt: skip
    return UserError(
        f"the output cannot be written: {error.strerror}", where=where,
        expected="a place where you may create folders", fix="choose another folder",
    )  # fmt: skip


def _read_me(amounts: Amounts, count: int) -> str:
    options = " ".join(f"--{name} {value}" for name, value in vars(amounts).items())
    return f"""{MARK}
{"=" * len(MARK)}

{count} pictures drawn by a program; no real person is shown. They stand in for data that need a licence.
Made by:
    ferbench make-synthetic OUT {options}
The same options give the same pictures.

affwild2/                   videos in the layout of Aff-Wild2 / ABAW5 EXPR, with its traps on purpose:
                            -1 frames, frames without a crop, two people in a video,
                            more or fewer labels than frames
  5th_ABAW_Annotations/     one text file per video and person: class names, then one label per frame
  cropped_aligned/          <video>/00001.jpg ...; a label's line (header = 0) is its frame's number
faces/                      unlabeled faces, one folder per person
faces_truth.csv             their true classes, for diagnostics only: path,label
faces.rec, faces.idx        the same pictures in the same order as InsightFace RecordIO
property                    people,height,width of faces.rec
folders/{{train,test}}/       one folder per class, equally many pictures in each

Classes: {", ".join(CLASSES)}.
No person appears in two of: training videos, validation videos, faces, folders/train, folders/test.
"""
