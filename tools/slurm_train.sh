#!/usr/bin/env bash
# Train a config as a Slurm job, one process per GPU.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] bash tools/slurm_train.sh PARTITION JOB CONFIG [...]
# Batch sizes in a config are global: GPUS only splits them.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: [GPUS=8] bash tools/slurm_train.sh PARTITION JOB CONFIG [--work-dir DIR] [--resume] [...]" >&2
    exit 2
fi
PARTITION=$1
JOB=$2
CONFIG=$3
shift 3

GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PYTHON:-}" ] && [ -x "$ROOT/.venv/bin/python" ]; then PYTHON=$ROOT/.venv/bin/python; fi

# shellcheck disable=SC2086  # SRUN_ARGS is meant to be split into words
exec srun -p "$PARTITION" --job-name="$JOB" --gres="gpu:$GPUS_PER_NODE" --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="$CPUS_PER_TASK" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$ROOT/tools/train.py" "$CONFIG" --launcher slurm "$@"
