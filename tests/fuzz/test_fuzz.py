"""No input, however damaged, ends in anything but a `UserError`: no traceback, no hang, no gigabytes.

`make test-all` makes `MUTATIONS` of them (FERBENCH_FUZZ=n: n). A finding names reader and number; one is repeated, and
what it read kept, by ``python tests/fuzz/test_fuzz.py READER NUMBER``.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from mutate import damaged, damaged_tree
from readers import OPTIONAL, READERS, Reader

from ferbench.data import datasets  # noqa: F401 - registers them
from ferbench.errors import UserError
from ferbench.registry import DATASETS

MUTATIONS = int(os.environ.get("FERBENCH_FUZZ") or 10_000)
CPU_SECONDS, WALL_SECONDS = 10, 120  # for one input; the first does not depend on what else the machine does
MEMORY = 3 << 30  # bytes that one input may take beyond what the process has
LONGEST = 4000  # characters of a message


_FAULTS = {
    "a message without end": lambda text: len(text) > LONGEST,
    "a message that advises to load unsafely": lambda text: "weights_only" in text,
    "a message with a raw NUL": lambda text: "\0" in text,
}


class Hang(BaseException):
    """Too much time for one input. Not an `Exception`, so that no reader takes it for a mistake of its own."""


def count_of(reader: Reader) -> int:
    """How many mutations are its own."""
    return -(-MUTATIONS * reader.share // sum(r.share for r in READERS)).__int__()


class Target:
    """A folder with what a reader reads, one file of it damaged at a time."""

    def __init__(self, reader: Reader, root: Path):
        self.reader, self.root = reader, root
        root.mkdir(parents=True, exist_ok=True)
        reader.write(root)
        self.files = sorted({f for p in reader.damage for f in root.glob(p) if f.is_file()})
        self.whole = {f: f.read_bytes() for f in root.rglob("*") if f.is_file()}
        assert self.files

    def damage(self, number: int) -> Path:
        """Damage one file; it."""
        random = Random(f"{self.reader.name} {number}")
        file = random.choice(self.files)
        how = random.random()
        if how < 0.03:
            file.unlink()
            if how < 0.01:
                file.mkdir()
            elif how < 0.015:
                file.symlink_to(file.name)
        elif self.reader.tree is not None and how < 0.6:
            load, dump = self.reader.tree
            try:
                file.write_bytes(dump(damaged_tree(load(self.whole[file]), random)))
            except (ValueError, TypeError, OverflowError, RuntimeError):  # what cannot be written is no input
                file.write_bytes(damaged(self.whole[file], random))
        else:
            file.write_bytes(damaged(self.whole[file], random))
        return file

    def restore(self) -> None:
        for file in [
            f for f in self.root.rglob("*") if (f.is_file() or f.is_symlink()) and f not in self.whole
        ]:
            file.unlink()
        for file, data in self.whole.items():
            if file.is_symlink():
                file.unlink()
            elif file.is_dir():
                shutil.rmtree(file)
            if not file.is_file() or file.stat().st_size != len(data) or file.read_bytes() != data:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)

    def read(self) -> str | None:
        """What came out that must not: the finding in one line, or None."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                self.reader.read(self.root)
            except UserError as error:
                text = str(error)
                for fault, there in _FAULTS.items():
                    if there(text):
                        return f"{fault} ({_place(error)}): {text[:80]!r}"
            except (Exception, Hang) as error:
                return f"{type(error).__name__} at {_place(error)}: {str(error)[:80]!r}"
        for warning in caught:
            if f"{os.sep}ferbench{os.sep}" in warning.filename:
                return f"warning at {warning.filename}:{warning.lineno}: {str(warning.message)[:80]}"
        return None


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f"{os.sep}ferbench{os.sep}" in f.filename] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} ({own[-1].name})"


def _alarm(*_: object) -> None:
    raise Hang("no end in sight")


@pytest.fixture
def guarded():
    """Time, memory and log of this process while inputs are read."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    before = [signal.signal(s, _alarm) for s in (signal.SIGPROF, signal.SIGALRM)]
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
        signal.signal(number, handler)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def findings(target: Target, numbers: range) -> dict[str, list[int]]:
    """Finding -> numbers of the inputs."""
    found: dict[str, list[int]] = {}
    for number in numbers:
        target.damage(number)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
        faulthandler.dump_traceback_later(
            3 * WALL_SECONDS, exit=True
        )  # a hang in C, which no signal handler ends
        try:
            what = target.read()
        except Hang:  # just after its end
            what = None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
        target.restore()
        if what is not None:
            found.setdefault(what.partition(": ")[0], []).append(number)
    return found


def named(readers: tuple[Reader, ...]) -> list:
    return [pytest.param(r, id=r.name.replace(" ", "-")) for r in readers]


@pytest.mark.heavy
@pytest.mark.parametrize("reader", named(READERS))
def test_only_user_errors_come_out(reader, guarded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = findings(Target(reader, tmp_path / "target"), range(count_of(reader)))
    assert not found, "\n".join(f"{what}: {len(n)} inputs, e.g. {n[:3]}" for what, n in sorted(found.items()))


@pytest.mark.parametrize("reader", named(READERS))
def test_each_reader_reads_what_is_whole(reader, tmp_path, monkeypatch):
    """Else nothing would be proved by the damage; and an input is the same each time."""
    monkeypatch.chdir(tmp_path)
    target = Target(reader, tmp_path / "target")
    reader.read(target.root)
    file = target.damage(7)
    once = file.read_bytes() if file.is_file() else None
    target.restore()
    assert target.damage(7) == file
    assert (file.read_bytes() if file.is_file() else None) == once
    target.restore()
    reader.read(target.root)


def test_every_data_set_has_a_reader():
    own = {name for name, kind in DATASETS.module_dict.items() if kind.__module__.startswith("ferbench.")}
    assert own - OPTIONAL <= {reader.name.split(" ")[0] for reader in READERS}
    assert max(Counter(reader.name for reader in READERS).values()) == 1


def test_the_mutations_are_as_many_as_are_promised():
    assert sum(map(count_of, READERS)) >= MUTATIONS


if __name__ == "__main__":
    [name, given] = sys.argv[1:]
    place = Path(tempfile.mkdtemp())
    own = Target(next(r for r in READERS if r.name in (name, name.replace("-", " "))), place)
    print(own.damage(int(given)))
    own.reader.read(place)
