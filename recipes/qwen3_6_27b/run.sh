#!/usr/bin/env bash
# One node of 8 GPUs, adapters. `run.sh --dry-run` needs nothing; ../stages.sh says what BASE, DATA and
# SAMPLER_URL are. FILTER is like SAMPLER: the weaker chat model whose easy prompts are left out.
ACCELERATE=${ACCELERATE:-$(dirname "$0")/../accelerate/fsdp.yaml} ON=${ON:-8xH100}
source "$(dirname "$0")/../stages.sh"
rft_data
rft
easy_left_out
rl "$out/rl_hard.jsonl"
meta "$out/rl_hard.jsonl" "$BASE"
