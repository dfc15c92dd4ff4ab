#!/usr/bin/env bash
# One GPU. `run.sh --dry-run` needs nothing; ../stages.sh says what BASE, DATA and SAMPLER_URL are.
source "$(dirname "$0")/../stages.sh"
all_on_one_gpu
