"""What can happen to a training from outside, told in one message: lack of memory, dead processes, lost connections."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config

from ferbench.core import process, stopping
from ferbench.data.loader import explaining_dead_workers
from ferbench.distributed import rank, world_size
from ferbench.errors import ExitStatus, UserError

# What libraries say that have no type for it.
NO_MEMORY = (
    "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc", "_status_alloc_failed",
    "insufficient memory",
)  # fmt: skip
LOST = ("gloo", "connection closed by peer", "connection reset by peer", "nccl")


@contextmanager
def explained(cfg: Config) -> Iterator[None]:
    """Make a `UserError` of each accident.

    Args:
        cfg: of the training.
    """
    try:
        with explaining_dead_workers():
            yield
    except UserError:
        raise
    except Exception as error:
        if (lacking := out_of_memory(error)) is not None:
            raise _no_memory(lacking, error, cfg) from error
        if is_lost_connection(error):
            raise _lost(error) from error
        raise


def out_of_memory(error: BaseException | None) -> str | None:
    """Which memory is full, ``GPU`` or ``main``, if that is what caused ``error``."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError):
            return "GPU"
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return "main"
        libraries = isinstance(error, RuntimeError) or type(error).__module__.startswith("cv2")
        if libraries and any(words in text for words in NO_MEMORY):
            return "GPU" if any(word in text for word in ("cuda", "cublas", "cudnn")) else "main"
        error = error.__cause__ or error.__context__
    return None


def is_lost_connection(error: BaseException) -> bool:
    """Whether an operation of several processes failed for the others' sake."""
    known = isinstance(error, torch.distributed.DistError) or any(word in str(error).lower() for word in LOST)
    return world_size() > 1 and isinstance(error, RuntimeError) and known


def _no_memory(kind: str, error: Exception, cfg: Config) -> UserError:
    share, parts = cfg.train_dataloader.batch_size // world_size(), cfg.train_cfg.get("micro_batches", 1)
    finer = next((n for n in range(parts + 1, share + 1) if share % n == 0), None)
    smaller = f"train_cfg.micro_batches={finer}" if finer else "a smaller train_dataloader.batch_size or mu"
    return UserError(
        f"out of {kind} memory: {_brief(error)}",
        where=f"batches of {share} labeled images per process, train_cfg.micro_batches={parts}",
        fix=f"in a training: {smaller}, which is another experiment and starts anew (--overwrite, or another --work-dir). In a "
        "validation, or where data-loading processes fill the memory: a smaller val_dataloader.batch_size, smaller num_workers "
        "of the dataloaders, which change no result (go on with --resume)",
    )


def _lost(error: Exception) -> UserError:
    watch = stopping.current
    missing = watch.missing() if watch is not None else []
    if watch is not None and watch.heard is not None and process.command_line:
        process.end(
            ExitStatus.INTERRUPTED
        )  # the launcher ends all of them, and knows which was the first to fail
    names = ", ".join(map(str, missing))
    who = (
        f"process{'es' if len(missing) > 1 else ''} {names} of {world_size()}"
        if missing
        else "another process"
    )
    return UserError(
        f"{who} does not answer: {_brief(error)}",
        where=f"seen by process {rank()}, counted from 0",
        expected="all processes to take part in each step",
        fix="look at what it printed last, at its machine and its disk; go on with --resume. If it was only slow: a larger "
        "env_cfg.dist_cfg.timeout (seconds)",
    )


def _brief(error: BaseException) -> str:
    """The first line that says something, of at most 200 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Caught "):  # in a worker, whose traceback follows
        lines = lines[-1:]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
