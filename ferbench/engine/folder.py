"""The folder of a run: who may write into it, and what a fresh start in it removes."""

from __future__ import annotations

import shutil
from pathlib import Path

from ferbench.core.files import atomic_write
from ferbench.distributed import barrier, rank
from ferbench.engine import checkpoint
from ferbench.engine.hooks.keeper import LAST, best
from ferbench.engine.hooks.report import RESULTS
from ferbench.engine.log_writer import NAME as LOG_NAME
from ferbench.errors import UserError
from ferbench.records import NAME as RECORD

SPLIT = "split.json"
KEPT_WITH_LAST = (best("raw"), best("ema"), LOG_NAME, SPLIT)
OF_A_RUN = (LAST, *KEPT_WITH_LAST, RESULTS, RECORD, "unreadable*.txt", "pseudo_labels_*.npz", ".*.tmp")


def checkpoint_to_resume(folder: Path, resume: bool | str, overwrite: bool) -> Path | None:
    """The checkpoint to go on from, None for a fresh start. Nothing is written or removed yet.

    Args:
        folder: of the run.
        resume: True: ``last.pth`` of the folder, a fresh start if the folder holds no run; or the path of a checkpoint.
        overwrite: the run that the folder holds may be replaced.

    Raises:
        UserError: the folder holds a run that would be lost, or the checkpoint cannot be read.
    """
    last = folder / LAST
    finished = (folder / RESULTS).is_file()  # of a finished run, the checkpoints may have been removed
    if resume is True:
        if last.is_file():
            return last
        if finished and not overwrite:
            raise UserError(
                "the run in the folder is finished and its last.pth is gone: there is nothing to go on with",
                where=folder,
                fix="--overwrite without --resume starts anew in it, --work-dir names another folder",
            )
        return None
    if resume:
        checkpoint.load(resume)  # before anything is built, so that a wrong path costs nothing
    same_folder = resume and Path(resume).resolve().parent == folder.resolve()
    if (last.is_file() or finished) and not overwrite and not same_folder:
        raise UserError(
            "the folder already holds a run",
            where=folder,
            expected="a new folder",
            fix="--resume goes on with it, --overwrite starts anew in it, --work-dir names another one",
        )
    return Path(resume) if resume else None


def start_anew(folder: Path) -> None:
    """Remove what an earlier run left in the folder (rank 0; the others wait)."""
    if rank() == 0:
        for pattern in OF_A_RUN:
            for file in folder.glob(pattern):
                file.unlink()
    barrier()


def adopt(source: Path, folder: Path) -> None:
    """Bring the checkpoint ``source`` and what belongs to it into another run folder, so that the run there is whole.

    The best checkpoints so far and the log of the iterations done would be missing at the end of the run.
    """
    if rank() == 0 and source.resolve().parent != folder.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        for name in KEPT_WITH_LAST:
            if (source.parent / name).is_file():
                shutil.copyfile(source.parent / name, folder / name)
        with open(source, "rb") as content, atomic_write(folder / LAST) as stream:
            shutil.copyfileobj(content, stream)
    barrier()
