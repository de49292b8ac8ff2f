#!/usr/bin/env bash
# Runs the long versions of the fault tests and the tests that download, for hours when the machine is idle.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/nightly.sh [ROUNDS [KILLS [SEED [EXECUTIONS]]]]

  ROUNDS  how often every fault test is repeated; default 5
  KILLS   how often a round kills the coordinator, and the one that leads of two, at random moments; default 20
          (the ranks of one training are killed 30 times in every round)
  SEED    moments of the first round; later rounds count on from it; default: random
  EXECUTIONS  how often each fuzz target is run; default 1,000,000

Needs the programs in build/release/bin: tests/run.sh or deploy/build.sh --all builds them. Builds what fuzzes and what
sanitizers check by itself (deploy/install.sh --with-fuzzers, tests/fuzz/run.sh, tests/sanitizers.sh).
TEXT
}

if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then
  usage
  exit 0
fi
for argument in "$@"; do
  if ! [[ $argument =~ ^[0-9]+$ ]]; then
    usage >&2
    echo "nightly: $argument is not a number" >&2
    exit 2
  fi
done
rounds=${1:-5} kills=${2:-20} seed=${3:-$RANDOM} executions=${4:-1000000}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=()
echo "nightly: 10,000 simulated lives of a cluster"
REGROUP_TEST_SEEDS=10000 ctest --test-dir build/release --output-on-failure --no-tests=error \
  -R '^coordinator_schedule_test$' || failed+=(simulation)
echo "nightly: 300 kills and 100 power cuts of a loaded coordinator, 1,000 races, every durable write"
REGROUP_TEST_KILLS=300 REGROUP_TEST_CUTS=100 REGROUP_TEST_RACES=1000 REGROUP_TEST_WRITES=all REGROUP_TEST_SEED=$seed \
  ctest --test-dir build/release --output-on-failure --no-tests=error \
  -R '^(loaded_kill|power_cut|cancel_race|durable_write|slow_disk)_test$' || failed+=("$seed")
echo "nightly: attacks by requests and connections, 10 rounds, also in a control group of 256 MiB"
REGROUP_TEST_ROUNDS=10 ctest --test-dir build/release --output-on-failure --no-tests=error \
  -R '^costly_requests_test$' || failed+=(attacks)
echo "nightly: any program killed or stopped under 50 jobs, seed $seed"
REGROUP_TEST_CHAOS_JOBS=25 REGROUP_TEST_SEED=$seed ctest --test-dir build/release --output-on-failure --no-tests=error \
  -R '^chaos_test$' || failed+=(chaos)
for ((round = 0; round < rounds; ++round)); do
  export REGROUP_TEST_KILLS=$kills REGROUP_TEST_RANK_KILLS=30 REGROUP_TEST_SEED=$((seed + round))
  echo "nightly: round $((round + 1)) of $rounds, $kills kills, seed $REGROUP_TEST_SEED"
  ctest --test-dir build/release --output-on-failure --no-tests=error -R '^(kill|rank_kill|hang|cancel|disk_full|failover|partition|run_command|stopped_worker)_test$' ||
    failed+=("$REGROUP_TEST_SEED")
done
echo "nightly: 100 faults of workers and 24 one-way cuts, seed $seed"
REGROUP_TEST_KILLS=100 REGROUP_TEST_CUTS=24 REGROUP_TEST_SEED=$seed ctest --test-dir build/release --output-on-failure \
  --no-tests=error -R '^(worker_faults|lossy_network)_test$' || failed+=(workers)
REGROUP_NIGHTLY=1 ctest --test-dir build/release --output-on-failure --no-tests=error -R '^(container_root|package|family|multiple_choice|lm_eval|fake_gpu_conversions|pretended_training|large_object)_(test|oracle)$' ||
  { echo "nightly: the image's root file system, the packages in a bare root, the families, the whole choice sets, the pretended GPUs or the objects of 5 GiB failed" >&2; exit 1; }
echo "nightly: resuming 3 GB of training state under a watchdog of 5 s"
REGROUP_TEST_LAYERS=20 ctest --test-dir build/release --output-on-failure --no-tests=error -R '^large_resume_test$' ||
  failed+=(large_resume)
echo "nightly: 20,000 damaged files each of safetensors, torch and Parquet, seed $seed"
REGROUP_TEST_MUTANTS=20000 REGROUP_TEST_SEED=$seed ctest --test-dir build/release --output-on-failure --no-tests=error \
  -R '^(safetensors|torch_file|parquet)_oracle$' || failed+=(damaged_files)
echo "nightly: every generated config.json next to Transformers"
REGROUP_TEST_CONFIGS=0 ctest --test-dir build/release --output-on-failure --no-tests=error -R '^config_oracle$' ||
  failed+=(configs)
echo "nightly: SmolLM2 from 3 KV heads to 1, perplexities next to Transformers'"
tests/real_model/run.sh || failed+=(real_model)
echo "nightly: every family in vLLM and llama.cpp, trained models in CTranslate2"
deploy/install.sh --with-engines
ctest --test-dir build/release --output-on-failure --no-tests=error -L '^engines$' || failed+=(engines)
echo "nightly: $executions runs of each fuzz target"
deploy/install.sh --with-fuzzers
tests/fuzz/run.sh "$executions" "$seed" || failed+=(fuzz)
tests/sanitizers.sh || failed+=(sanitizers)
if [ ${#failed[@]} -gt 0 ]; then
  echo "nightly: failed with seeds ${failed[*]}; repeat one with: tests/nightly.sh 1 $kills SEED" >&2
  exit 1
fi
echo "nightly: all rounds passed"
