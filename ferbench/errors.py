"""The error a user is meant to read: what was found, where, what was expected, what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum
from typing import Any


class ExitStatus(IntEnum):
    """Exit statuses of the command line. The three from 73 on are states that another start can go on from.

    Attributes:
        OK: all was done.
        SOME_FAILED: some runs failed or are left; or a data set has defects.
        USER_ERROR: a mistake of the user; the message says what to do.
        TAKEN: another process holds the run's folder.
        DISK_FULL: no space is left; ``--resume`` goes on when there is some.
        STOPPED: told to stop by a signal; ``last.pth`` is written and ``--resume`` goes on.
        INTERRUPTED: told twice, or before there was anything to save; ended at once.
    """

    OK = 0
    SOME_FAILED = 1
    USER_ERROR = 2
    TAKEN = 73
    DISK_FULL = 74
    STOPPED = 75
    INTERRUPTED = 130


class UserError(Exception):
    """A mistake in a config, a file or a command that its user can mend.

    The command line prints it without a traceback and exits with `status`. Each part is one plain sentence.

    Args:
        what: what was found, e.g. ``label 9 is out of range``.
        where: file and line, config key, or folder.
        expected: what would have been right.
        fix: what to do now, ideally a command.

    Attributes:
        status: exit status of a program that ends with this error.
    """

    status = ExitStatus.USER_ERROR

    def __init__(
        self, what: str, *, where: object = None, expected: str | None = None, fix: str | None = None
    ):
        self.what, self.where = presentable(what), where
        self.expected = None if expected is None else presentable(expected)
        self.fix = None if fix is None else presentable(fix)
        parts = [self.what]
        if where is not None:
            parts.append(f"  where:    {presentable(str(where))}")
        if expected is not None:
            parts.append(f"  expected: {self.expected}")
        if fix is not None:
            parts.append(f"  to do:    {self.fix}")
        super().__init__("\n".join(parts))

    def __reduce__(self) -> tuple:
        """Keep the parts when a data-loading worker sends the error to the main process."""
        return _rebuild, (type(self), self.what, self.where, self.expected, self.fix)


_LINE = 1000  # characters of a line that are shown
_CONTROL = {
    n: repr(chr(n))[1:-1] for n in (*range(9), *range(11, 32), *range(127, 160))
}  # all but tab and newline


def presentable(text: str) -> str:
    """A message of which a part may come from any file: no control characters, and the middle of an endless line left out."""
    lines = str(text).translate(_CONTROL).split("\n")
    short = (n if len(n) <= _LINE else f"{n[:700]} ... {n[-200:]} ({len(n):,} characters)" for n in lines)
    return "\n".join(short)


class FolderTaken(UserError):
    """Another process holds the folder of the run."""

    status = ExitStatus.TAKEN


class DiskFull(UserError):
    """No space is left on the disk; what was written before is intact."""

    status = ExitStatus.DISK_FULL


class Stopped(KeyboardInterrupt):
    """A training was told to end by a signal, and has ended where it can go on."""

    status = ExitStatus.STOPPED


def _rebuild(
    kind: type[UserError], what: str, where: object, expected: str | None, fix: str | None
) -> UserError:
    return kind(what, where=where, expected=expected, fix=fix)


def disk_full(error: BaseException | None) -> OSError | None:
    """The "no space left" error that caused ``error``, if one did."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error
        error = error.__cause__ or error.__context__
    return None


REFUSED = {
    errno.EACCES: "there is no permission to use this file or folder",
    errno.EPERM: "there is no permission to use this file or folder",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a file stands where a folder is expected",
    errno.EEXIST: "something else stands where a folder is to be made",
    errno.EISDIR: "a folder stands where a file is expected",
}


def path_refused(error: BaseException | None) -> tuple[str, str] | None:
    """What is wrong with a path, and the path, if that is what ``error`` says or was raised from.

    A file that is missing may be a bug; where its folder is missing, too, the folder was never made, or was removed.
    """
    while error is not None:
        if isinstance(error, OSError) and isinstance(error.filename, (str, os.PathLike)):
            if error.errno in REFUSED:
                return REFUSED[error.errno], os.fspath(error.filename)
            if error.errno == errno.ENOENT and not os.path.isdir(os.path.dirname(error.filename) or "."):
                return "the folder of this file does not exist, or not any more", os.fspath(error.filename)
        error = error.__cause__
    return None


def described(value: Any) -> str:
    """What somebody's code returned, e.g. ``torch.float32 of shape (16, 1)``, or the name of its type."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__


def shortened(value: Any, length: int = 60) -> str:
    """``repr`` of a value from a file for a message: of a long one the beginning and how long it is, in one line.

    Args:
        value: anything found in a file, e.g. the text of a cell.
        length: characters that may be shown.
    """
    if isinstance(value, (str, bytes)) and len(value) > length:
        return (
            f"{value[:length]!r}... ({len(value):,} {'bytes' if isinstance(value, bytes) else 'characters'})"
        )
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists in lists
        return f"a very long {type(value).__name__}"
    return text if len(text) <= length else text[: length - 3] + "..."


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Sentence that names the closest of the known names, e.g. ``did you mean 'DTM'?``."""
    names = sorted(set(known))
    close = get_close_matches(name, names, n=count, cutoff=0.5)
    if not close:
        lowered = {n.lower(): n for n in names}
        close = [lowered[c] for c in get_close_matches(name.lower(), lowered, n=count, cutoff=0.5)]
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "known: " + ", ".join(names[:40]) + (", ..." if len(names) > 40 else "")
