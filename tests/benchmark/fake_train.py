"""Stands in for ``ferbench train`` in tests of the grid runner: starts in an instant, and ends as it is told.

    python fake_train.py PLAN CONFIG --work-dir DIR [...]

PLAN is a JSON file: ``template``: a record; ``endings``: a list of [words of the run's folder, its endings, one start after
the other]; ``scores``: name of a run's folder -> validation macro-F1, and the share
of each class that is right in the test, 0 or 1; ``changes``: words of a run's folder -> keys of
its record. Every start appends a line to ``starts`` beside PLAN.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

EXITS = {
    "disk full": (74, ""),  # its output, on the same disk, says nothing of it
    "disk full for another process": (74, ""),
    "talk of a full disk": (2, "error: the server said: [Errno 28] No space left on device"),
    "stopped": (75, ""),
}


def main() -> None:
    plan_file, config_file = Path(sys.argv[1]), Path(sys.argv[2])
    folder = Path(sys.argv[sys.argv.index("--work-dir") + 1])
    plan = json.loads(plan_file.read_text())
    config: dict = {}
    exec(config_file.read_text(), config)
    with open(plan_file.with_name("starts"), "a") as starts:
        starts.write(f"{folder.parent.name}/{folder.name}\n")
    count = (
        plan_file.with_name("starts").read_text().splitlines().count(f"{folder.parent.name}/{folder.name}")
    )
    endings = next((own for words, own in plan["endings"] if words in str(folder)), ["finish"])
    ending = endings[min(count, len(endings)) - 1]

    own = record_of(plan["template"], config)
    own.update(next((keys for words, keys in plan["changes"].items() if words in str(folder)), {}))
    end(ending, own, folder)
    for row in own["results"]:
        values = plan["scores"].get(folder.name)
        if values:
            row["val_macro_f1"], right = values
            counts = [sum(line) for line in row["confusion"]]
            size = len(counts)
            row["confusion"] = [
                [n if j == (i if right else (i + 1) % size) else 0 for j in range(size)]
                for i, n in enumerate(counts)
            ]
            row |= {key: float(right) for key in ("macro_f1", "accuracy", "balanced_accuracy")}
            row["f1"] = size * [float(right)]
    for name in ("last.pth", "best_raw.pth", "best_ema.pth"):
        (folder / name).touch()
    write(folder, own)


def end(ending: str, own: dict, folder: Path) -> None:
    """Whatever is not a good end."""
    if ending == "fail at once":
        print("error: the data folder does not exist\n  where:    /nowhere", file=sys.stderr)
        sys.exit(2)
    if ending == "killed at once":
        os.kill(os.getpid(), signal.SIGKILL)

    (folder / "last.pth").touch()
    write(folder, {**own, "status": "running", "results": []})
    if ending == "traceback":
        raise ZeroDivisionError("a bug\nof two lines")
    if ending == "own reason":
        write(folder, {**own, "status": "failed", "failure": "the loss became NaN", "results": []})
        sys.exit(2)
    if ending == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if ending == "disk full for another process":
        write(folder, {**own, "status": "failed", "failure": "Connection closed by peer", "results": []})
    if ending in EXITS:
        code, words = EXITS[ending]
        print(words, file=sys.stderr)
        sys.exit(code)
    wait_for_the_runner(ending)


def wait_for_the_runner(ending: str) -> None:
    """Endings that the runner has a part in."""
    if ending == "interrupt runner":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)  # until the runner asks this process to end
    if ending == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)  # until the runner kills it
    if ending == "impatient":
        signal.signal(signal.SIGTERM, lambda *_: shower())
        os.kill(os.getppid(), signal.SIGTERM)
        while True:
            time.sleep(60)  # until the runner kills it
    if ending == "kill runner":
        os.kill(os.getppid(), signal.SIGKILL)


def shower() -> None:
    """Signals for the runner, different ones, since the kernel merges equal ones that have not been delivered."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getppid(), number)


def record_of(template: dict, config: dict) -> dict:
    hook = config["default_hooks"]["record"]
    own = {
        **template,
        "label": hook["label"],
        "cell": hook["cell"],
        "algorithm": config["model"]["algorithm"],
    }
    seen: dict = {k: os.environ.get(k) for k in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
    if hasattr(os, "sched_getaffinity"):
        seen["cores"] = sorted(os.sched_getaffinity(0))
    return {**own, "seed": config["randomness"]["seed"], "config": seen}


def write(folder: Path, own: dict) -> None:
    """As the real one does, by renaming."""
    (folder / "part").write_text(json.dumps(own))
    os.replace(folder / "part", folder / "record.json")


if __name__ == "__main__":
    main()
