"""UNet with two conditions against diffusers (patched: see `leave_out_mask_argument`)."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import UNet2DConditionModel
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise
from tests.support.versatile import IMAGE_BLOCKS, PLAN, WIDTH, leave_out_mask_argument, tiny_image_unet

DUAL = {**PLAN, **IMAGE_BLOCKS, "sample_size": 16, "dual_cross_attention": True}


@pytest.mark.parametrize(("ratio", "lengths"), [(None, None), (0.3, (77, 257)), (1.0, (77, 17)), (0.0, (5, 17))])
def test_forward(tmp_path, ratio, lengths):
    ours, reference = twins(tmp_path, leave_out_mask_argument(tiny_image_unet(dual_cross_attention=True)))
    mixing = {}
    if ratio is not None:
        mixing = {"mix_ratio": paddle.to_tensor(ratio), "condition_lengths": lengths}
        for module in reference.modules():
            if hasattr(module, "mix_ratio"):
                module.mix_ratio, module.condition_lengths = ratio, list(lengths)
    text_tokens = (lengths or (77, 257))[0]
    (x, tx), (c, tc) = both(noise((2, 4, 12, 20))), both(noise((2, text_tokens + 17, WIDTH), "conditions"))
    result = ours(x, 321, c, cross_attention_kwargs=mixing).sample
    with torch.no_grad():
        assert_close(result, reference(tx, 321, tc).sample)


def test_mask_over_both_conditions(tmp_path):
    """Masked tokens have no effect, in either condition."""
    ours, _ = twins(tmp_path, tiny_image_unet(dual_cross_attention=True))
    x, mixing = paddle.to_tensor(noise((2, 4, 8, 8))), {"condition_lengths": (5, 6)}
    conditions, mask = noise((2, 11, WIDTH), "conditions"), np.ones((2, 11), dtype=np.int64)
    mask[:, [3, 8]] = 0
    others = np.where(mask[..., None] == 0, noise((2, 11, WIDTH), "others"), conditions)

    def run(conditions, mask=None):
        mask = None if mask is None else paddle.to_tensor(mask)
        given = {"cross_attention_kwargs": mixing, "encoder_attention_mask": mask}
        return ours(x, 5, paddle.to_tensor(conditions), **given).sample.numpy()

    np.testing.assert_allclose(run(conditions, mask), run(others, mask), atol=1e-6)
    assert np.abs(run(conditions) - run(others)).max() > 1e-3


def test_state_dict_keys():
    assert_same_keys(UNet2DConditionModel, diffusers.UNet2DConditionModel, DUAL)
