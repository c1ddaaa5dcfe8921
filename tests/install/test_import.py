"""`import ppdiffusers` is cheap, loads nothing heavy, and every public name is really there."""

import subprocess
import sys

import pytest

import ppdiffusers

FOREIGN = ("torch", "diffusers", "transformers", "paddlenlp", "huggingface_hub", "modelscope")


def run(code: str) -> str:
    """What a fresh interpreter prints for `code`."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_nothing_heavy():
    heavy = (*FOREIGN, "paddle", "PIL", "tokenizers", "scipy", "rich")
    code = f"import sys, ppdiffusers; print([m for m in {heavy!r} if m in sys.modules])"
    assert run(code) == "[]"


def test_every_public_name_exists_and_brings_in_nothing_foreign():
    code = (
        "import sys, ppdiffusers, ppdiffusers.transformers as t\n"
        "assert all(getattr(ppdiffusers, n) is not None for n in ppdiffusers.__all__)\n"
        "assert all(getattr(t, n) is not None for n in t.__all__)\n"
        f"print([m for m in {FOREIGN!r} if m in sys.modules])"
    )
    assert run(code).splitlines()[-1] == "[]"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'NoSuchPipeline'"):
        ppdiffusers.NoSuchPipeline


@pytest.fixture
def seconds(monkeypatch, tmp_path):
    """Processor seconds of a statement after another, with bytecode on the disk as from a user's second start on."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))

    def measure(statement: str, after: str = "pass") -> float:
        code = f"import time; {after}; t = time.process_time(); {statement}; print(time.process_time() - t)"
        return min(float(run(code).splitlines()[-1]) for _ in range(4))  # the first one writes what the others read

    return measure


def test_import_time(seconds):
    """Nothing of Paddle is in it."""
    assert seconds("import ppdiffusers") <= 0.2


def test_pipeline_import_time(seconds):
    """Naming the pipeline costs what Paddle costs and 0.5 s more at the most (tokenizers, pillow and our own code)."""
    assert seconds("from ppdiffusers import StableDiffusionPipeline", after="import paddle") <= 0.5
