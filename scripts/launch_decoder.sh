#!/usr/bin/env bash
# Train the decoder on N processes of this machine: GPUs where there are any (NCCL), CPU processes where not (gloo).
# Usage: scripts/launch_decoder.sh N [-d section.key=value ...] [-o data.key=value ...]
set -euo pipefail
if [[ $# -lt 1 || ! $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 NUMBER_OF_PROCESSES [-d section.key=value ...] [-o data.key=value ...]" >&2
    exit 2
fi
processes=$1
shift
cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
exec python -m torch.distributed.run --standalone --nproc_per_node "$processes" "$here/main_decoder.py" "$@"
