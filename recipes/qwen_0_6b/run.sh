#!/usr/bin/env bash
# One GPU. `run.sh --dry-run` needs nothing; ../stages.sh says what BASE, DATA and SAMPLER_URL are.
source "$(dirname "$0")/../stages.sh"
# The judge itself writes what its meta RM learns from, in this process.
trained="--model $out/rl"
[ -z "$size" ] || trained="--model $BASE --adapter $out/rl"
SELF=${SELF:---engine hf $trained}
rft_data
rft
rl "$DATA/rl.jsonl" --dev "$DATA/dev.jsonl"
meta "$DATA/rl.jsonl" "$(model_of rl)"
