#!/usr/bin/env bash
# Train a config as a Slurm job, one process per GPU; on a partition without GPUs, GPUS processes on CPUs.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SRUN_ARGS=...] bash tools/slurm_train.sh PARTITION JOB CONFIG [...]
# Batch sizes in a config are global: GPUS only splits them. Defaults fit the partition's nodes (without GPUs: one process).
# tools/sbatch_train.sh PARTITION JOB CONFIG [...] does the same as a batch job that goes on by itself when it is preempted.
set -euo pipefail

if [ "$#" -lt 3 ]; then
    echo "usage: [GPUS=8] bash tools/slurm_train.sh PARTITION JOB CONFIG [--work-dir DIR] [--resume] [...]" >&2
    exit 2
fi
PARTITION=$1
JOB=$2
CONFIG=$3
shift 3
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/slurm_resources.sh
source "$ROOT/tools/slurm_resources.sh"

# shellcheck disable=SC2086  # SRUN_ARGS is meant to be split into words
exec srun -p "$PARTITION" --job-name="$JOB" "${RESOURCES[@]}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$ROOT/tools/train.py" "$CONFIG" --launcher slurm "$@"
