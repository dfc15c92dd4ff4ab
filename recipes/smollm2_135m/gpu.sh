#!/bin/sh
# On the GPU machine, in the repository: join the carried base, install what is missing, run it all.
# Usage: sh recipes/smollm2_135m/gpu.sh CARRY_FOLDER [MINUTES]. Continues a run that was cut off.
# $OUT, where it is set, receives what should come back: adapters, metrics, credits.
set -eu
carry=${1:-carry} minutes=${2:-25} work=runs/smollm2
export SPCT_DATA=${SPCT_DATA:-shared/data} SPCT_BASE=$work/base.gguf
mkdir -p $work
for part in "$carry"/base.gguf.[0-9]; do [ -f "$part" ] && cp -n "$part" $work/; done
if [ ! -f $work/base.gguf ]; then
    cat $work/base.gguf.[0-9] > $work/base.gguf
    (cd $work && sha256sum -c -) < "$carry/base.gguf.sha256" || { rm $work/base.gguf; echo "carry the other part too"; exit 3; }
fi
python -c 'import trl, datasets' 2>/dev/null || python -m pip install -q --no-index --no-deps "$carry"/wheels/*.whl
python -m pip install -q --no-index --no-deps --no-build-isolation -e . 2>/dev/null || export PYTHONPATH=$PWD
save() {
    [ -n "${OUT:-}" ] || return 0
    for stage in cold_start rft rl meta; do
        mkdir -p "$OUT/$stage"
        cp $work/gpu/run/$stage/adapter_* $work/gpu/run/$stage/metrics.jsonl $work/gpu/run/$stage/done.json "$OUT/$stage/" 2>/dev/null || true
    done
    cp -r $work/gpu/results/*.json "$OUT/" 2>/dev/null || true
}
trap save EXIT
python -m recipes.smollm2_135m.run --budget gpu --work $work --minutes "$minutes"
for model in cold_start rft rl; do
    python -m recipes.smollm2_135m.measure $model --work $work/gpu --batch 512
done
python -m recipes.smollm2_135m.measure rl --work $work/gpu --batch 512 --k 32 --temperature 0.5 --limit 200
python -m recipes.smollm2_135m.guided rl --work $work/gpu --k 32
python -m recipes.smollm2_135m.baselines --work $work/gpu
python -m recipes.smollm2_135m.report --work $work/gpu
