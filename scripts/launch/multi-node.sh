#!/usr/bin/env bash
# Trains on several machines that share the run folder and the data at the same paths: starts `star launch` on each over ssh.
#   scripts/launch/multi-node.sh "host-a host-b" 8 train configs/config_d16_256.json
# The first host holds rank 0. Ctrl-C ends all of them in order, with a checkpoint.
set -euo pipefail
if (($# < 3)); then
  echo "usage: $0 \"HOST HOST …\" PROCESSES-A-HOST COMMAND [ARGUMENT …]" >&2
  exit 2
fi
read -ra hosts <<<"$1"
processes=$2
shift 2
printf -v command '%q ' "$@"
printf -v folder '%q' "$PWD"

pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' INT TERM
for rank in "${!hosts[@]}"; do
  # A terminal (-tt), so that what ends ssh ends the launcher too.
  ssh -tt "${hosts[rank]}" "cd $folder && star launch --nnodes ${#hosts[@]} --node-rank $rank --master-addr ${hosts[0]} \
    --nproc-per-node $processes --max-restarts 3 $command" </dev/null &
  pids+=($!)
done
status=0
for pid in "${pids[@]}"; do wait "$pid" || status=$?; done
exit "$status"
