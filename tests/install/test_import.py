"""`import ppdiffusers` is fast, imports no large package, and every public name exists."""

import subprocess
import sys

import pytest

import ppdiffusers

FOREIGN = ("torch", "diffusers", "transformers", "paddlenlp", "huggingface_hub", "modelscope")


def run(code: str) -> str:
    """Output of a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_no_large_package():
    large = (*FOREIGN, "paddle", "PIL", "tokenizers", "scipy", "rich")
    code = f"import sys, ppdiffusers; print([m for m in {large!r} if m in sys.modules])"
    assert run(code) == "[]"


def test_every_public_name_exists_and_imports_no_foreign_package():
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
    """Measure the processor time of a statement, with bytecode cached as from the second start on."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))

    def measure(statement: str, after: str = "pass") -> float:
        code = f"import time; {after}; t = time.process_time(); {statement}; print(time.process_time() - t)"
        return min(float(run(code).splitlines()[-1]) for _ in range(4))  # the first run writes the bytecode

    return measure


def test_import_time(seconds):
    """Paddle is not imported."""
    assert seconds("import ppdiffusers") <= 0.2


def test_pipeline_import_time(seconds):
    """Importing a pipeline takes at most 0.5 s in addition to Paddle (tokenizers, pillow and our code)."""
    assert seconds("from ppdiffusers import StableDiffusionPipeline", after="import paddle") <= 0.5
