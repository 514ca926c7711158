#!/usr/bin/env bash
# Train a config as a Slurm batch job that goes on by itself: preempted, at the end of its time, or after the loss of a node.
#   [GPUS=8] [GPUS_PER_NODE=8] [CPUS_PER_TASK=5] [SECONDS_BEFORE_END=120] [SBATCH_ARGS=...] \
#       bash tools/sbatch_train.sh PARTITION JOB CONFIG [...]
# SIGUSR1 comes so many seconds before the end; the training then finishes its step, writes last.pth and exits with 75, and the
# job is put back into the queue and goes on from there. A run that has finished, failed or was cancelled is not.
set -euo pipefail
EXIT_STOPPED=75 # ferbench.errors.ExitStatus.STOPPED
EXIT_INTERRUPTED=130 # .INTERRUPTED: here, preempted before the training had begun

if [ "${1:-}" = --in-the-job ]; then # Slurm has started this script anew: $2 is the checkout, then the words for train.py
    ROOT=$2
    shift 2
    if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then set -- "$@" --resume; fi
    export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # which a step does not take over from its job
    # Signals of a preemption come to this shell, too, which must live to see how the training ended.
    trap 'true' TERM USR1 CONT
    # shellcheck disable=SC2086
    srun --kill-on-bad-exit=1 ${SRUN_ARGS:-} "${PYTHON:-python}" -u "$ROOT/tools/train.py" "$@" --launcher slurm &
    STEP=$!
    STATUS=0
    while true; do
        wait "$STEP" && STATUS=0 || STATUS=$?
        kill -0 "$STEP" 2>/dev/null || break # a signal that is caught ends `wait`, not the step
    done
    AGAIN=$((STATUS == EXIT_STOPPED || (STATUS == EXIT_INTERRUPTED && ${SLURM_RESTART_COUNT:-0} < 3)))
    # Of a job that Slurm is ending already, it knows itself whether to start it again.
    if [ "$AGAIN" -eq 1 ] && [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" = RUNNING ]; then
        scontrol requeue "$SLURM_JOB_ID"
        sleep 60 # until Slurm ends this script
    fi
    exit "$STATUS"
fi

if [ "$#" -lt 3 ]; then
    echo "usage: [GPUS=8] bash tools/sbatch_train.sh PARTITION JOB CONFIG [--work-dir DIR] [...]" >&2
    exit 2
fi
PARTITION=$1
JOB=$2
shift 2
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/slurm_resources.sh
source "$ROOT/tools/slurm_resources.sh"
export PYTHON=${PYTHON:-python}

# shellcheck disable=SC2086  # SBATCH_ARGS is meant to be split into words
exec sbatch -p "$PARTITION" --job-name="$JOB" "${RESOURCES[@]}" --signal="USR1@${SECONDS_BEFORE_END:-120}" --requeue \
    --open-mode=append ${SBATCH_ARGS:-} "$ROOT/tools/sbatch_train.sh" --in-the-job "$ROOT" "$@"
