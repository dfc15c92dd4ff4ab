#!/usr/bin/env bash
# One GPU. Set BASE (Qwen3-0.6B), DATA (a folder with rm.jsonl, rl.jsonl, dev.jsonl) and SAMPLER_URL.
set -euo pipefail
here=$(dirname "$0") out=${OUT:-runs/qwen_0_6b} size=${SIZE:-} # SIZE=_lora trains adapters
launch() { accelerate launch --config_file "$here/../accelerate/one_gpu.yaml" "$(command -v spct)" "$@"; }

spct data rft "$DATA/rm.jsonl" --out "$out/rft_data" -c "$here/rft_data.toml" \
  --engine openai --base-url "$SAMPLER_URL"
launch train rft "$out/rft_data/rows.jsonl" --model "$BASE" --out "$out/rft" -c "$here/rft$size.toml"
launch train rl "$DATA/rl.jsonl" --dev "$DATA/dev.jsonl" --model "$out/rft" --out "$out/rl" \
  -c "$here/rl$size.toml"
trained=(--model "$out/rl")
[ -z "$size" ] || trained=(--model "$BASE" --adapter "$out/rl")
spct data rft "$DATA/rl.jsonl" --out "$out/self" --engine hf "${trained[@]}" \
  --set hinted=false --set temperature=1.0
spct data meta "$out/rft_data" "$out/self" --out "$out/meta.jsonl"
launch train meta "$out/meta.jsonl" --model "$out/rl" --out "$out/meta" -c "$here/meta.toml"
