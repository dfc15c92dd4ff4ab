#!/usr/bin/env bash
# The paper's recipe, stage by stage. Set BASE (Gemma-2-27B base with a chat template), DATA (a folder
# with rm.jsonl, rl.jsonl, general.jsonl) and SAMPLER_URL (an OpenAI-compatible endpoint).
set -euo pipefail
here=$(dirname "$0") out=${OUT:-runs/gemma2_27b} cluster=${ACCELERATE:-$here/../accelerate/multi_node.yaml}
launch() { accelerate launch --config_file "$cluster" ${ACCELERATE_ARGS:-} "$(command -v spct)" "$@"; }

spct data rft "$DATA/rm.jsonl" --out "$out/rft_data" -c "$here/rft_data.toml" \
  --engine openai --base-url "$SAMPLER_URL" --general "$DATA/general.jsonl"
launch train rft "$out/rft_data/rows.jsonl" --model "$BASE" --out "$out/rft" -c "$here/rft.toml"

# the paper filters easy prompts with a smaller chat model, not with the model being trained
spct data rft-filter "$DATA/rl.jsonl" --out "$out/rl_hard.jsonl" -c "$here/rl.toml" \
  --engine openai --base-url "${FILTER_URL:-$SAMPLER_URL}"
# in another shell, on GPUs of its own: trl vllm-serve --model "$out/rft" --tensor-parallel-size 4
launch train rl "$out/rl_hard.jsonl" --model "$out/rft" --out "$out/rl" -c "$here/rl.toml"

# serve "$out/rl" as GRM_URL (vllm serve), then sample its own trajectories for the meta RM
: "${GRM_URL:?RL is done; serve $out/rl and run this again with GRM_URL=http://HOST:PORT/v1}"
spct data rft "$out/rl_hard.jsonl" --out "$out/self" --engine openai --base-url "$GRM_URL" \
  --set hinted=false --set temperature=1.0 --set max_tokens=2048
spct data meta "$out/rft_data" "$out/self" --out "$out/meta.jsonl"
launch train meta "$out/meta.jsonl" --model "$out/rl" --out "$out/meta" -c "$here/meta.toml"
