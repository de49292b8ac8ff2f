#!/usr/bin/env bash
# Converts SmolLM2-135M-Instruct from 3 KV heads to 1, and compares the perplexities of source and result with those of
# Transformers, and their scores of multiple-choice questions with those of lm-evaluation-harness. Then merges copies of its KV heads, and compares the logits of source and result.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/real_model/run.sh [FOLDER]

  FOLDER  gets the Python packages, the model, the text and the result; default build/real_model. Packages, model and
          text that are there are used again.

Downloads 250 MB the first time, needs 5 GB of disk, and the programs in build/release/bin (deploy/build.sh --all).
TEXT
}

case ${1:-} in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=${1:-build/real_model} python=build/venv/bin/python
scripts=tests/real_model

# Beside the environment of the oracles, which stays as it is.
[ -d "$folder/packages" ] ||
  $python -m pip install --quiet --no-deps --target "$folder/packages" -r $scripts/requirements.txt
export PYTHONPATH=$folder/packages${PYTHONPATH:+:$PYTHONPATH}
[ -f "$folder/source/model.safetensors" ] ||
  $python $scripts/make_smollm2.py "$folder/source" --logits-tool build/release/tests/logits_tool
[ -f "$folder/text/valid.jsonl" ] || $python $scripts/make_text.py "$folder/text" --model "$folder/source"

[ -f "$folder/text/continuations.jsonl" ] || $python $scripts/make_choices.py "$folder/text"

rm -rf "$folder/one-head"
$python $scripts/convert.py "$folder/source" "$folder/text" "$folder/one-head" --kv-heads 1 --windows 8 \
  --calibration-sequences 16 --choices "$folder/text/continuations.jsonl"
$python $scripts/check_perplexity.py "$folder/one-head"
$python $scripts/check_choices.py "$folder/one-head"

# Nine KV heads, of which three each are equal, become three again without loss.
[ -f "$folder/expanded/model.safetensors" ] || $python $scripts/make_smollm2.py "$folder/expanded" --expand
rm -rf "$folder/exact"
$python $scripts/convert.py "$folder/expanded" "$folder/text" "$folder/exact" --kv-heads 3 --windows 8 \
  --calibration-sequences 16 --refine no --max-ratio 1.001
$python $scripts/check_exact.py "$folder/exact"
