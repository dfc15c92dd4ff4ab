#!/usr/bin/env bash
# The paper's recipe. `run.sh --dry-run` needs nothing; ../stages.sh says what BASE, DATA and
# SAMPLER_URL are. FILTER is like SAMPLER: the weaker chat model whose easy prompts are left out.
ACCELERATE=${ACCELERATE:-$(dirname "$0")/../accelerate/multi_node.yaml} ON=${ON:-128xH100}
source "$(dirname "$0")/../stages.sh"
rft_data --general "$DATA/general.jsonl"
rft
# The paper leaves out what DeepSeek-V2-Lite-Chat gets right three times of three: a weaker model than
# the strong sampler, which would leave hardly a prompt, and not the model being trained.
: "${FILTER:=${FILTER_URL:+--engine openai --base-url $FILTER_URL}}"
: "${FILTER:?flags of the engine for the easy filter, or FILTER_URL}"
stage "easy prompts" spct data rft-filter "$DATA/rl.jsonl" --out "$out/rl_hard.jsonl" \
  -c "$here/rl.toml" $FILTER
# in another shell, on GPUs of its own: trl vllm-serve --model "$out/rft" --tensor-parallel-size 4
rl "$out/rl_hard.jsonl"
: "${SELF:=${GRM_URL:+--engine openai --base-url $GRM_URL}}"
: "${SELF:?RL is done; serve $out/rl (vllm serve) and run this again with GRM_URL=http://HOST:PORT/v1}"
# from the base, as in the paper, not from the trained judge
meta "$out/rl_hard.jsonl" "$BASE"
