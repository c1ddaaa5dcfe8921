"""The memory benchmark at a sixteenth of its size: loading a whole checkpoint into memory would fail it."""

from __future__ import annotations

from benchmarks.convert_memory import measure


def test_component_is_converted_tensor_by_tensor(tmp_path):
    above = measure(tmp_path, width=80)
    size = (tmp_path / "source" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert size > 200e6
    assert all(0 < peak < 1000 / 16 for peak in above.values()), above  # megabytes
