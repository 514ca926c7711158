"""``python -m ferbench.core.torchrun ...``: torchrun that ends with the exit status of its processes instead of always 1.

The status then says why a run of several processes ended, as it does for a single process: a full disk, a folder in which
another training works, a signal (`ferbench.errors.ExitStatus`). SIGUSR1, by which batch systems announce the end of a job,
stops the processes as SIGTERM does.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from ferbench.core.process import ignore_ending_signals
from ferbench.errors import ExitStatus

# A process that ends with one of these knows why; the others may only have lost the connection to it. A process that ends with
# one of GOING_ON may have been stopped by torchrun because another one has failed.
TELLING = (ExitStatus.DISK_FULL, ExitStatus.TAKEN)
GOING_ON = (ExitStatus.STOPPED, ExitStatus.INTERRUPTED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run torchrun; see the module.

    Args:
        argv: its arguments.
    """
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    try:
        run.main(sys.argv[1:] if argv is None else list(argv))
    except SignalException:
        return ExitStatus.STOPPED
    except ChildFailedError as error:
        first = error.get_first_failure()[1].exitcode
        codes = [failure.exitcode for failure in error.failures.values()]
        known = next((status for status in TELLING if status in codes), first)
        if known in (*TELLING, *GOING_ON):
            return known
        print(error, file=sys.stderr, flush=True)
        return first if first > 0 else 128 - first
    return ExitStatus.OK


if __name__ == "__main__":
    status = main()
    ignore_ending_signals()
    sys.exit(status)
