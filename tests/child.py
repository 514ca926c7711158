"""Run the project's tools in a process of their own that is forked from one that has imported torch and ferbench.

What a test sees is what a new interpreter gives (exit status, signals, output, environment, nothing of the test's own
state), but it starts in milliseconds. ``test_cli.py`` and ``test_readme.py`` start the tools in new interpreters.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ferbench.testing.processes import start_method


def run_script(
    words: Sequence[str | Path],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 1200,
) -> subprocess.CompletedProcess[str]:
    """Run ``python WORDS`` as `subprocess.run` with ``capture_output=True, text=True`` would.

    Args:
        words: a script, ``-m`` and a module, or ``-c`` and code; then what it is told.
        cwd: where it runs; None: here.
        env: its environment; None: this process'.
        timeout: seconds, after which it hangs.
    """
    words = [os.fspath(word) for word in words]
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "out"), Path(folder, "err")
        process = multiprocessing.get_context(start_method()).Process(
            target=_run, args=(words, str(cwd or Path.cwd()), dict(env or os.environ), *map(str, files))
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout)
        out, err = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    return subprocess.CompletedProcess(words, process.exitcode, out, err)


def _run(words: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    multiprocessing.set_start_method(None, force=True)  # back to the system's own
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for stream, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
    sys.orig_argv[:] = [sys.executable, *words]
    if words[0] in ("-m", "-c"):
        sys.path.insert(0, cwd)
        sys.argv[:] = [words[0], *words[2:]]
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            exec(words[1], {"__name__": "__main__"})
    else:
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        sys.argv[:] = words
        runpy.run_path(words[0], run_name="__main__")
