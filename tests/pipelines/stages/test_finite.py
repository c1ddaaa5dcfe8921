"""Detection of the first stage with NaN or infinity."""

import paddle
import pytest

from ppdiffusers.pipelines.stages.finite import FiniteCheck


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_first_bad_stage(value, caplog):
    finite = FiniteCheck()
    finite.note("the text encoder", paddle.ones([2, 3]))
    finite.note("denoising step 0", paddle.to_tensor([1.0, value]))
    finite.note("the VAE's decoder", paddle.to_tensor([value]))
    assert finite.first_bad() == "denoising step 0"
    finite.warn()
    assert "first appeared in: denoising step 0" in caplog.text


def test_no_warning_for_finite_results(caplog):
    finite = FiniteCheck()
    finite.note("the text encoder", paddle.ones([2, 3]).astype("bfloat16"))
    finite.warn()
    assert finite.first_bad() is None and not caplog.text
