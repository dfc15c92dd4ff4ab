# What every run.sh sources: the stages, how one is launched, and --dry-run.
#
#   run.sh             all stages; a killed one continues, a finished one takes no step more
#   run.sh --dry-run   what each stage would do (rows, tokens, memory, hours); needs no variable
#
# BASE     the model to start from: a folder, or its name on the hub
# DATA     a folder with rm.jsonl (to sample), rl.jsonl (prompts of RL), dev.jsonl or general.jsonl
# SAMPLER  flags of the engine that writes judgements: "--engine openai --base-url http://HOST:8000/v1"
# SELF     the same of the trained judge, whose own judgements the meta RM learns from
# OUT, SIZE (=_lora trains adapters), ACCELERATE (a file for accelerate launch), ON (8xH100, for --dry-run)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
name=$(basename "$here") size=${SIZE:-} dry=()
out=${OUT:-runs/$name}
if [ "${1:-}" = --dry-run ]; then
  dry=(--dry-run) DATA=${DATA:-data} SAMPLER=${SAMPLER:---engine scripted} SELF=${SELF:---engine scripted}
  FILTER=${FILTER:---engine scripted}
  # No stage has written its model yet; all of them have the architecture of the base.
  shape=${BASE:-$here/model.json} BASE=$shape
fi
: "${BASE:?the model to start from}" "${DATA:?a folder of examples}"
: "${SAMPLER:=${SAMPLER_URL:+--engine openai --base-url $SAMPLER_URL}}"
: "${SAMPLER:?flags of the engine that samples, or SAMPLER_URL}"

stage() { # a title, then a command; a dry run asks and writes nothing
  echo "== $1" >&2
  "${@:2}" "${dry[@]}"
}
launch() { # spct train ... on the processes of $ACCELERATE
  if [ ${#dry[@]} -gt 0 ]; then
    spct "$@" ${ON:+--on "$ON"}
  else
    accelerate launch --config_file "${ACCELERATE:-$here/../accelerate/one_gpu.yaml}" \
      ${ACCELERATE_ARGS:-} "$(command -v spct)" "$@"
  fi
}
model_of() { echo "${shape:-$out/$1}"; } # what a stage has written, or its shape in a dry run
rft_data() {
  stage "judgements of $SAMPLER" spct data rft "$DATA/rm.jsonl" --out "$out/rft_data" \
    -c "$here/rft_data.toml" $SAMPLER "$@"
}
rft() {
  stage "rejective fine-tuning" launch train rft "$out/rft_data/rows.jsonl" --model "$BASE" \
    --out "$out/rft" -c "$here/rft$size.toml"
}
easy_left_out() { # FILTER is like SAMPLER: the weaker chat model whose easy prompts are left out
  : "${FILTER:=${FILTER_URL:+--engine openai --base-url $FILTER_URL}}"
  : "${FILTER:?flags of the engine for the easy filter, or FILTER_URL}"
  stage "easy prompts" spct data rft-filter "$DATA/rl.jsonl" --out "$out/rl_hard.jsonl" \
    -c "$here/rl.toml" $FILTER
}
rl() { # the file of its prompts, then more flags
  stage "RL" launch train rl "$1" --model "$(model_of rft)" --out "$out/rl" \
    -c "$here/rl$size.toml" "${@:2}"
}
meta() { # the prompts, then the model that the meta RM starts from
  : "${SELF:=${GRM_URL:+--engine openai --base-url $GRM_URL}}"
  : "${SELF:?RL is done; serve $out/rl (vllm serve) and run this again with GRM_URL=http://HOST:PORT/v1}"
  stage "judgements of its own" spct data rft "$1" --out "$out/self" $SELF \
    --set hinted=false --set temperature=1.0
  stage "labels" spct data meta "$out/rft_data" "$out/self" --out "$out/meta.jsonl"
  stage "meta RM" launch train meta "$out/meta.jsonl" --model "$2" --out "$out/meta" \
    -c "$here/meta.toml"
}
all_on_one_gpu() { # every stage; the judge itself writes what its meta RM learns from, in this process
  local trained="--model $out/rl"
  [ -z "$size" ] || trained="--model $BASE --adapter $out/rl"
  SELF=${SELF:---engine hf $trained}
  rft_data
  rft
  rl "$DATA/rl.jsonl" --dev "$DATA/dev.jsonl"
  meta "$DATA/rl.jsonl" "$(model_of rl)"
}
