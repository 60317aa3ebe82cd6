#!/usr/bin/env bash
# Run a Python script on N processes of this machine, or of each of several: GPUs where there are any (NCCL), CPU processes where not (gloo).
# Usage: scripts/launch.sh SCRIPT N [--nodes M --node I --at HOST:PORT] [arguments of the script ...]
# With --nodes the same command runs on each of M machines, numbered I from 0; they meet at a free port of machine 0.
set -euo pipefail
usage="usage: ${LAUNCHED_AS:-$0 SCRIPT} NUMBER_OF_PROCESSES [--nodes M --node I --at HOST:PORT] [arguments of the script ...]"
if [[ $# -lt 2 || ! $2 =~ ^[1-9][0-9]*$ ]]; then
    echo "$usage" >&2
    exit 2
fi
script=$1
processes=$2
shift 2
nodes='' node='' at=''
while [[ ${1:-} =~ ^--(nodes|node|at)$ ]]; do
    [[ -n ${2:-} ]] || { echo "$1 needs a value; $usage" >&2; exit 2; }
    declare "${1#--}=$2"
    shift 2
done
meeting=(--standalone)
if [[ -n $nodes$node$at ]]; then
    if [[ ! $nodes =~ ^[1-9][0-9]*$ || ! $node =~ ^[0-9]+$ || $node -ge $nodes || ! $at =~ ^.+:[0-9]+$ ]]; then
        echo "--nodes M, --node I below M and --at HOST:PORT belong together; $usage" >&2
        exit 2
    fi
    meeting=(--nnodes "$nodes" --node_rank "$node" --master_addr "${at%:*}" --master_port "${at##*:}")
fi
cores=$(getconf _NPROCESSORS_ONLN)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}
exec python -m torch.distributed.run "${meeting[@]}" --nproc_per_node "$processes" "$script" "$@"
