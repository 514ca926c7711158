# For the scripts beside it: what a job asks for, by PARTITION, GPUS, GPUS_PER_NODE and CPUS_PER_TASK; sets RESOURCES and PYTHON.
# shellcheck shell=bash

OFFER=$(sinfo --noheader --partition="$PARTITION" --format="%c %G" 2>/dev/null || true) # CPUs of a node and what else it has
RESOURCES=()
if [ -z "$OFFER" ] || [[ $OFFER == *gpu* ]]; then
    GPUS=${GPUS:-8}
    GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
    RESOURCES+=(--gres="gpu:$GPUS_PER_NODE")
else
    GPUS=${GPUS:-1}
    GPUS_PER_NODE=${GPUS_PER_NODE:-$GPUS}
    echo "partition $PARTITION has no GPUs: $GPUS process(es) on CPUs" >&2
fi
CPUS=$(awk '{ n = $1 + 0; if (n && (!least || n < least)) least = n } END { print least + 0 }' <<<"$OFFER") # of the smallest node
SHARE=$((CPUS / GPUS_PER_NODE))
CPUS_PER_TASK=${CPUS_PER_TASK:-$((CPUS == 0 || SHARE > 5 ? 5 : SHARE > 0 ? SHARE : 1))}
RESOURCES+=(--ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="$CPUS_PER_TASK")

if [ -z "${PYTHON:-}" ] && [ -x "$ROOT/.venv/bin/python" ]; then PYTHON=$ROOT/.venv/bin/python; fi
