#!/usr/bin/env bash
# Run tests of ppdiffusers 0.29 against this tree and print how many pass; its files are not changed.
#
# Usage: old_tests.sh CHECKOUT [FOLDER...]
#   CHECKOUT  a checkout of github.com/PaddlePaddle/PaddleMIX, which has the tests in ppdiffusers/tests
#   FOLDER    folders or files below ppdiffusers/tests; "schedulers models pipelines" by default
# Environment: PYTHON, by default .venv-test/bin/python of this tree; LOG, a file for pytest's output; WORKERS, the
# number of processes, 2 by default.
#
# Tests of systems that this package does not have are skipped, and names of the models of tests resolve to tiny folders
# (old_tests_plugin.py).
set -euo pipefail
checkout=${1:?usage: old_tests.sh CHECKOUT [FOLDER...]}
shift
tests=$checkout/ppdiffusers/tests
[[ -d $tests/schedulers ]] || { echo "$tests/schedulers does not exist: expected a checkout of PaddleMIX" >&2; exit 2; }
tree=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$tree/.venv-test/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=${LOG:-$work/log}

# The tests import each other as `tests...`, so that this package must not be the one of this tree.
mkdir "$work/tests"
touch "$work/tests/__init__.py"
cp -r "$tests/schedulers" "$tests/models" "$tests/pipelines" "$tests/fixtures" "$work/tests/"
[[ $# -gt 0 ]] || set -- schedulers models pipelines
cd "$work"
export PYTHONPATH=$tree:$tree/scripts/compat OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} HF_HUB_OFFLINE=1
"$python" -m old_tests_plugin >/dev/null 2>&1
status=0
"$python" -m pytest -q --tb=short -rfEs --rootdir=. -n "${WORKERS:-2}" -p no:cacheprovider -p old_tests_plugin \
  --continue-on-collection-errors "${@/#/tests/}" >"$log" 2>&1 || status=$?
# pytest exits with 1 if tests fail, which is expected here; other codes mean that it did not run
[[ $status -le 1 ]] || { tail -20 "$log" >&2; exit "$status"; }
grep '^FAILED\|^ERROR' "$log" || true
tail -1 "$log"
echo "skipped because a class is missing: $(sed -n 's/^SKIPPED \[\([0-9]*\)\].*is missing: .*/\1/p' "$log" | paste -sd+ | bc)"
