"""Starts data-loading processes by fork, and sees to it that each one lives."""

from __future__ import annotations

import os
import signal
from multiprocessing import connection, context, popen_fork, util
from multiprocessing.process import BaseProcess

#: What is meant for the training process: a batch system and a terminal send it to all processes of a job.
NOT_FOR_WORKERS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
]
PATIENCE = 10.0  # seconds until a child that has not reported is given up; doubled at each try
TRIES = 4


class CheckedPopen(popen_fork.Popen):
    """A fork whose child reports; one that does not is killed, and forked again.

    A child of CPython 3.11 waits forever for the list of threads if, at the moment of the fork, a native thread was adding
    itself to it or removing itself. gloo's threads do so at the end of collective operations, and a training that forks
    for a validation does it right after some.
    """

    patience = PATIENCE

    def _launch(self, process_obj: BaseProcess) -> None:
        for attempt in range(TRIES):
            if self._start(process_obj, self.patience * 2**attempt):
                return
        raise RuntimeError(f"a data-loading process did not start: {TRIES} forks hung")

    def terminate(self) -> None:
        """As `kill`: there is nothing in a worker to be saved, and SIGTERM it does not hear."""
        self.kill()

    def _start(self, process_obj: BaseProcess, patience: float) -> bool:
        """One try, as `multiprocessing.popen_fork.Popen._launch` but for the report; False: it was given up."""
        parent_r, child_w = os.pipe()
        child_r, parent_w = os.pipe()
        reported, report = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_WORKERS)
        self.pid = -1
        try:
            self.pid = os.fork()
        finally:
            if self.pid:  # the child keeps them blocked for life
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if self.pid == 0:
            code = 1
            try:
                signal.set_wakeup_fd(-1)
                os.write(report, b".")
                _close(parent_r, parent_w, reported, report)
                code = process_obj._bootstrap(parent_sentinel=child_r)  # type: ignore[attr-defined] # not in the stub
            finally:
                os._exit(code)
        _close(child_w, child_r, report)
        # Readable also when the child has died; the parent of a dead process finds out as of any other.
        lives = bool(connection.wait([reported], patience))
        os.close(reported)
        if lives:
            self.finalizer = util.Finalize(self, _close, (parent_r, parent_w))
            self.sentinel = parent_r
            return True
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        _close(parent_r, parent_w)
        return False


class CheckedForkProcess(context.ForkProcess):
    """A process started by `CheckedPopen`."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> CheckedPopen:
        return CheckedPopen(process_obj)


class CheckedForkContext(context.ForkContext):
    """What a DataLoader is given as its ``multiprocessing_context``."""

    Process = CheckedForkProcess


def _close(*ends: int) -> None:
    for end in ends:
        os.close(end)
