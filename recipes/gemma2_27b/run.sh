#!/usr/bin/env bash
# The paper's recipe, stage by stage. Set BASE (Gemma-2-27B base with a chat template), DATA (a folder
# with rm.jsonl, rl.jsonl, general.jsonl), SAMPLER_URL (an OpenAI-compatible endpoint of the strong
# sampler) and FILTER_URL (one of the weaker chat model whose easy prompts are left out).
set -euo pipefail
here=$(dirname "$0") out=${OUT:-runs/gemma2_27b} cluster=${ACCELERATE:-$here/../accelerate/multi_node.yaml}
launch() { accelerate launch --config_file "$cluster" ${ACCELERATE_ARGS:-} "$(command -v spct)" "$@"; }

spct data rft "$DATA/rm.jsonl" --out "$out/rft_data" -c "$here/rft_data.toml" \
  --engine openai --base-url "$SAMPLER_URL" --general "$DATA/general.jsonl"
launch train rft "$out/rft_data/rows.jsonl" --model "$BASE" --out "$out/rft" -c "$here/rft.toml"

# The paper leaves out what DeepSeek-V2-Lite-Chat gets right three times of three: a weaker model than
# the strong sampler, which would leave hardly a prompt, and not the model being trained.
: "${FILTER_URL:?an endpoint of DeepSeek-V2-Lite-Chat, for the easy filter}"
spct data rft-filter "$DATA/rl.jsonl" --out "$out/rl_hard.jsonl" -c "$here/rl.toml" \
  --engine openai --base-url "$FILTER_URL"
# in another shell, on GPUs of its own: trl vllm-serve --model "$out/rft" --tensor-parallel-size 4
launch train rl "$out/rl_hard.jsonl" --model "$out/rft" --out "$out/rl" -c "$here/rl.toml"

# serve "$out/rl" as GRM_URL (vllm serve), then sample its own trajectories for the meta RM
: "${GRM_URL:?RL is done; serve $out/rl and run this again with GRM_URL=http://HOST:PORT/v1}"
spct data rft "$out/rl_hard.jsonl" --out "$out/self" --engine openai --base-url "$GRM_URL" \
  --set hinted=false --set temperature=1.0 --set max_tokens=2048
spct data meta "$out/rft_data" "$out/self" --out "$out/meta.jsonl"
# from the base, as in the paper, not from the trained judge
launch train meta "$out/meta.jsonl" --model "$BASE" --out "$out/meta" -c "$here/meta.toml"
