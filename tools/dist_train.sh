#!/usr/bin/env bash
# Train a config on several processes of this machine: GPUs where there are some, else CPU processes.
#   bash tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# PYTHON chooses the interpreter (else .venv's, if there is one). Batch sizes in a config are global: GPUS only splits them.
set -euo pipefail

if [ "$#" -lt 2 ]; then
    echo "usage: bash tools/dist_train.sh CONFIG GPUS [--work-dir DIR] [--resume] [...]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
shift 2
if ! [[ $GPUS =~ ^[1-9][0-9]*$ ]]; then
    echo "error: GPUS is '$GPUS', expected a positive number: bash tools/dist_train.sh CONFIG GPUS [...]" >&2
    exit 2
fi

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PYTHON:-}" ] && [ -x "$ROOT/.venv/bin/python" ]; then PYTHON=$ROOT/.venv/bin/python; fi

export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
exec "${PYTHON:-python}" -m ferbench.core.torchrun --standalone --nproc_per_node "$GPUS" \
    "$ROOT/tools/train.py" "$CONFIG" --launcher pytorch "$@"
