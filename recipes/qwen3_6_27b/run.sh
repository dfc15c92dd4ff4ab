#!/usr/bin/env bash
# One node of 8 GPUs, adapters. `run.sh --dry-run` needs nothing; ../stages.sh says what BASE, DATA and
# SAMPLER_URL are. FILTER is like SAMPLER: the weaker chat model whose easy prompts are left out.
ACCELERATE=${ACCELERATE:-$(dirname "$0")/../accelerate/fsdp.yaml} ON=${ON:-8xH100}
source "$(dirname "$0")/../stages.sh"
rft_data
rft
: "${FILTER:=${FILTER_URL:+--engine openai --base-url $FILTER_URL}}"
: "${FILTER:?flags of the engine for the easy filter, or FILTER_URL}"
stage "easy prompts" spct data rft-filter "$DATA/rl.jsonl" --out "$out/rl_hard.jsonl" \
  -c "$here/rl.toml" $FILTER
rl "$out/rl_hard.jsonl"
: "${SELF:=${GRM_URL:+--engine openai --base-url $GRM_URL}}"
: "${SELF:?RL is done; serve $out/rl (vllm serve) and run this again with GRM_URL=http://HOST:PORT/v1}"
meta "$out/rl_hard.jsonl" "$BASE"
