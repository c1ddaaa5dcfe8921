#!/usr/bin/env bash
# ppdiffusers[paddlenlp] in an environment of its own (its pins exclude those of the other tests): install, check, test.
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
"$venv/bin/python" -m pip check
"$venv/bin/python" -m pytest -p no:cacheprovider --confcutdir tests/paddlenlp_env tests/paddlenlp_env
