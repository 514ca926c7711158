"""Images that could not be read: counted, named in a file, and a reason to stop when there are too many."""

from __future__ import annotations

from collections.abc import Sequence
from logging import Logger
from pathlib import Path

from ferbench.distributed import rank
from ferbench.errors import UserError

ENOUGH = 500  # images seen before a share means anything


class UnreadableLog:
    """Counts unreadable images by stream and writes each one's reason to ``unreadable.txt`` once.

    Args:
        folder: of the run.
        logger: told of the first unreadable image of each stream.
        max_share: share of a stream's images that may be unreadable.
        key: where the config says so.
    """

    def __init__(self, folder: str | Path, logger: Logger, max_share: float, key: str):
        self.file = Path(folder) / ("unreadable.txt" if rank() == 0 else f"unreadable.rank{rank()}.txt")
        self.logger, self.max_share, self.key = logger, max_share, key
        self.seen: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self.listed: set[str] | None = None

    def count(self, stream: str, images: int, unreadable: Sequence[tuple[int, str]]) -> None:
        """Add one batch: ``images`` used in it, and (index, reason) of those that were not readable.

        Raises:
            UserError: the share is above the limit.
        """
        self.seen[stream] = self.seen.get(stream, 0) + images
        if not unreadable:
            return
        if stream not in self.failed:
            first = unreadable[0][1]
            self.logger.warning(
                f"unreadable images in the {stream} data are listed in {self.file}; the first: {first}"
            )
        self.failed[stream] = self.failed.get(stream, 0) + len(unreadable)
        if self.listed is None:  # not before: a fresh start in the folder removes the file
            self.listed = (
                set(self.file.read_text(encoding="utf-8").splitlines()) if self.file.is_file() else set()
            )
        lines = dict.fromkeys(f"{stream}\t{reason}" for _, reason in unreadable)
        new = [line for line in lines if line not in self.listed]
        self.listed.update(new)
        with open(self.file, "a", encoding="utf-8") as out:
            out.writelines(f"{line}\n" for line in new)
        share = self.failed[stream] / max(self.seen[stream], ENOUGH if self.max_share else 1)
        if share > self.max_share:
            raise UserError(
                f"{self.failed[stream]} of {self.seen[stream]} {stream} images could not be read",
                where=f"{unreadable[0][1]} (all: {self.file})",
                expected=f"a share of at most {self.max_share:g}",
                fix=f"python tools/check_data.py CONFIG lists all of them; repair the data, or raise {self.key}",
            )
