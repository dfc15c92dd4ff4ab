#!/usr/bin/env bash
# The paper's recipe. `run.sh --dry-run` needs nothing; ../stages.sh says what BASE, DATA and
# SAMPLER_URL are. FILTER is like SAMPLER: the weaker chat model whose easy prompts are left out.
ACCELERATE=${ACCELERATE:-$(dirname "$0")/../accelerate/multi_node.yaml} ON=${ON:-128xH100}
source "$(dirname "$0")/../stages.sh"
rft_data --general "$DATA/general.jsonl"
rft
# The paper leaves out what DeepSeek-V2-Lite-Chat gets right three times of three: a weaker model than
# the strong sampler, which would leave hardly a prompt, and not the model being trained.
easy_left_out
rl "$out/rl_hard.jsonl"
meta "$out/rl_hard.jsonl" "$BASE"
