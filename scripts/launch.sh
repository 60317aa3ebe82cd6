#!/usr/bin/env bash
# Run a Python script on N processes of this machine: GPUs where there are any (NCCL), CPU processes where not (gloo).
# Usage: scripts/launch.sh SCRIPT N [arguments of the script ...]
set -euo pipefail
if [[ $# -lt 2 || ! $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: ${LAUNCHED_AS:-$0 SCRIPT} NUMBER_OF_PROCESSES [arguments of the script ...]" >&2
    exit 2
fi
script=$1
processes=$2
shift 2
cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}
exec python -m torch.distributed.run --standalone --nproc_per_node "$processes" "$script" "$@"
