#!/usr/bin/env bash
# Install, check and test ppdiffusers[paddlenlp] in a separate environment: its pins exclude those of the other tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${VENV:-.venv-paddlenlp}
python=${PYTHON:-python3}
if [ ! -e "$venv/ready" ]; then
    "$python" scripts/ci/check_python.py
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --upgrade pip
    "$venv/bin/python" -m pip install --quiet -e '.[cpu,paddlenlp]' 'pytest>=8' 'pytest-timeout>=2.3'
    touch "$venv/ready"
fi
oldest=$venv/aistudio-sdk-0.1.3
if [ ! -e "$oldest" ]; then
    "$venv/bin/python" -m pip install --quiet --no-deps --target "$oldest" 'aistudio-sdk==0.1.3'
fi
"$venv/bin/python" -m pip check
run_tests=("$venv/bin/python" -m pytest -p no:cacheprovider)
"${run_tests[@]}" --confcutdir tests/paddlenlp_env tests/paddlenlp_env
# AI Studio: errors of its hub, with the installed SDK and with the oldest supported one
"${run_tests[@]}" tests/io/hub/test_hubs.py tests/io/hub/test_download.py -k aistudio
PYTHONPATH=$oldest "${run_tests[@]}" --confcutdir tests/paddlenlp_env tests/paddlenlp_env/test_aistudio_sdk.py
PYTHONPATH=$oldest "${run_tests[@]}" tests/io/hub/test_hubs.py -k aistudio
