"""``python -m ferbench.core.torchrun ...``: torchrun, with the exit status of the processes that it starts instead of always 1.

What ended a run of several processes is then known as with one: a full disk, a folder that is taken, a signal
(`ferbench.errors.ExitStatus`). SIGUSR1, by which batch systems announce the end, ends the processes as SIGTERM does.
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

# A process that says one of these knows why all end; the others may only have lost it. A process that was stopped does not
# know: torchrun stops the others when one has failed.
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
