"""DPT, hybrid and not, and its image processor against transformers: depth, loading and saving."""

import numpy as np
import paddle
import pytest
import torch
import transformers
from PIL import Image

import ppdiffusers.transformers as ours_lib
from ppdiffusers.core.errors import ConfigError, InputError
from tests.models.support import assert_same_keys
from tests.support.parity import assert_close, noise, randomize, rng_for

# Covers each rule of BiT's: widths, and quarters of them, that are not multiples of 8; stages with two layers.
BACKBONE = {
    "global_padding": "same", "layer_type": "bottleneck", "depths": [2, 1, 2], "hidden_sizes": [24, 60, 64],
    "out_features": ["stage1", "stage2", "stage3"], "embedding_dynamic_padding": True, "embedding_size": 16,
    "num_groups": 8,
}  # fmt: skip
PLAIN = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [8, 12, 16, 20],
    "fusion_hidden_size": 16, "reassemble_factors": [4, 2, 1, 0.5],
}  # fmt: skip
HYBRID = {
    **PLAIN, "is_hybrid": True, "backbone_config": BACKBONE, "image_size": 96, "patch_size": 16,
    "backbone_featmap_shape": [1, 64, 6, 6], "neck_hidden_sizes": [24, 64, 32, 32],
    "reassemble_factors": [1, 1, 1, 0.5], "neck_ignore_stages": [0, 1],
}  # fmt: skip
CASES = {
    "hybrid": HYBRID,
    "hybrid, symmetric padding": {
        **HYBRID, "backbone_config": {**BACKBONE, "embedding_dynamic_padding": False, "global_padding": None},
        "qkv_bias": False, "use_bias_in_fusion_residual": False, "hidden_act": "relu",
    },
    "plain": PLAIN,
    "plain, readout add": {**PLAIN, "readout_type": "add", "head_in_index": -2},
    "plain, readout ignore": {**PLAIN, "readout_type": "ignore", "backbone_out_indices": [0, 1, 2, 3]},
}  # fmt: skip


def twins(tmp_path, settings, safe=True):
    """Return (ours, the reference) with the same weights."""
    reference = randomize(transformers.DPTForDepthEstimation(transformers.DPTConfig(**settings)))
    torch.nn.init.constant_(reference.head.head[4].bias, 3.0)  # the last ReLU would set most values to 0
    reference.save_pretrained(tmp_path, safe_serialization=safe)
    return ours_lib.DPTForDepthEstimation.from_pretrained(tmp_path), reference


@pytest.mark.parametrize("case", CASES)
def test_depth(tmp_path, case):
    ours, reference = twins(tmp_path, CASES[case])
    size = CASES[case]["image_size"]
    pixels = noise((2, 3, size, size))
    mine = ours(paddle.to_tensor(pixels), output_hidden_states=True)
    with torch.no_grad():
        theirs = reference(torch.from_numpy(pixels), output_hidden_states=True)
    assert list(mine.keys()) == list(theirs.keys())
    assert theirs.predicted_depth.std() > 0.05
    assert_close(mine.predicted_depth, theirs.predicted_depth)
    for a, b in zip(mine.hidden_states, theirs.hidden_states, strict=True):
        assert_close(a, b)
    as_tuple = ours(paddle.to_tensor(pixels), return_dict=False)
    assert len(as_tuple) == 1 and as_tuple[0].shape == mine.predicted_depth.shape


@pytest.mark.parametrize("case", ["hybrid", "plain"])
def test_attention_weights(tmp_path, case):
    ours, reference = twins(tmp_path, {**CASES[case], "attn_implementation": "eager"})
    pixels = noise((2, 3, *[CASES[case]["image_size"]] * 2))
    mine = ours(paddle.to_tensor(pixels), output_attentions=True)
    with torch.no_grad():
        theirs = reference(torch.from_numpy(pixels), output_attentions=True)
    for a, b in zip(mine.attentions, theirs.attentions, strict=True):
        assert_close(a, b)
    assert_close(mine.predicted_depth, theirs.predicted_depth)


@pytest.mark.parametrize("readout", ["project", "add", "ignore"])
def test_interpolated_positions(tmp_path, readout):
    ours, reference = twins(tmp_path, {**PLAIN, "readout_type": readout})
    pixels = noise((1, 3, 56, 56))
    with torch.no_grad():
        theirs = reference(torch.from_numpy(pixels)).predicted_depth
    assert_close(ours(paddle.to_tensor(pixels)).predicted_depth, theirs)
    assert ours(paddle.to_tensor(noise((1, 3, 48, 32)))).predicted_depth.shape == [1, 96, 64]


@pytest.mark.parametrize("settings", [HYBRID, PLAIN], ids=["hybrid", "plain"])
def test_save_and_load_with_both_libraries(tmp_path, settings):
    ours, reference = twins(tmp_path / "torch", settings, safe=False)
    ours.save_pretrained(tmp_path / "paddle")
    again = ours_lib.DPTForDepthEstimation.from_pretrained(tmp_path / "paddle")
    again.save_pretrained(tmp_path / "back", to_diffusers=True)
    back = transformers.DPTForDepthEstimation.from_pretrained(tmp_path / "back")
    for key, value in reference.state_dict().items():
        assert torch.equal(value, back.state_dict()[key]), key
    found, expected = back.config.to_dict(), reference.config.to_dict()
    for part in ("backbone_config", None):
        one, other = (config.pop(part) if part else config for config in (found, expected))
        differing = {key for key in other or () if one.get(key) != other[key]}
        assert differing <= {"_name_or_path", "architectures", "torch_dtype", "transformers_version"}


# depth_estimator/config.json of stabilityai/stable-diffusion-2-depth, without default values
RELEASED = {
    "is_hybrid": True, "neck_hidden_sizes": [256, 512, 768, 768], "reassemble_factors": [1, 1, 1, 0.5],
    "backbone_featmap_shape": [1, 1024, 24, 24], "neck_ignore_stages": [0, 1],
    "backbone_config": {
        "depths": [3, 4, 9], "embedding_dynamic_padding": True, "global_padding": "SAME", "layer_type": "bottleneck",
        "model_type": "bit", "out_features": ["stage1", "stage2", "stage3"],
    },
}  # fmt: skip


class ReferenceDPT(transformers.DPTForDepthEstimation):
    """Can be created from a dictionary, as `assert_same_keys` does."""

    @classmethod
    def from_config(cls, config):
        return cls(transformers.DPTConfig(**config))


@pytest.mark.parametrize("config", [RELEASED, {"is_hybrid": True, **{k: RELEASED[k] for k in list(RELEASED)[:3]}}])
def test_keys_and_shapes_of_the_released_network(config):
    assert_same_keys(ours_lib.DPTForDepthEstimation, ReferenceDPT, config)


def test_bad_inputs(tmp_path):
    ours, _ = twins(tmp_path, HYBRID)
    for shape in ([1, 3, 80, 96], [1, 4, 96, 96], [3, 96, 96]):
        with pytest.raises(InputError, match="96, 96"):
            ours(paddle.zeros(shape))
    with pytest.raises(InputError, match="pixel_values is None"):
        ours(None)
    wrong = {**BACKBONE, "layer_type": "preactivation", "out_features": ["stem"]}
    with pytest.raises(ConfigError) as error:
        ours_lib.DPTForDepthEstimation(
            ours_lib.DPTConfig(**{**HYBRID, "backbone_config": wrong, "readout_type": "add", "image_size": [32, 48]})
        )
    for part in ("layer_type", "out_features", "readout_type", "images and patches are square"):
        assert part in str(error.value)
    with pytest.raises(ConfigError, match="without is_hybrid"):
        ours_lib.DPTForDepthEstimation(ours_lib.DPTConfig(**{**PLAIN, "backbone_config": {"model_type": "beit"}}))


# -- image processor -----------------------------------------------------------------------------------------------


def pil_image(width, height):
    pixels = rng_for(f"{width}x{height}").integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


OPTIONS = [
    {},
    {"size": {"height": 32, "width": 48}, "resample": 2},
    {"size": 40, "keep_aspect_ratio": True},
    {"size": 40, "keep_aspect_ratio": True, "ensure_multiple_of": 16},
    {"size": 33, "do_pad": True, "size_divisor": 14},
    {"do_resize": False, "do_normalize": False},
    {"size": 20, "do_rescale": False, "image_mean": [1.0, 2, 3], "image_std": [4.0, 5, 6]},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_pixels_equal(options):
    ours, theirs = ours_lib.DPTImageProcessor(**options), transformers.DPTImageProcessor(**options)
    for width, height in ((45, 30), (30, 45), (24, 24), (19, 61)):
        image = pil_image(width, height)
        for given in (image, np.asarray(image), np.asarray(image).transpose(2, 0, 1), np.asarray(image) / 255.0):
            mine = ours(given, return_tensors="np").pixel_values
            expected = theirs(given, return_tensors="np").pixel_values
            np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


def test_batches_image_modes_and_files(tmp_path):
    theirs = transformers.DPTImageProcessor(size=24)
    theirs.save_pretrained(tmp_path / "torch")
    ours = ours_lib.DPTImageProcessor.from_pretrained(tmp_path / "torch")
    ours.save_pretrained(tmp_path / "ours")
    again = transformers.AutoImageProcessor.from_pretrained(tmp_path / "ours")
    assert type(again) is transformers.DPTImageProcessor
    batch = [pil_image(20, 30), pil_image(31, 17)]
    expected = theirs(batch, return_tensors="np").pixel_values
    np.testing.assert_allclose(ours(batch, return_tensors="pd").pixel_values.numpy(), expected, atol=1e-6)
    np.testing.assert_array_equal(again(batch, return_tensors="np").pixel_values, expected)
    # transformers passes a size of 0 to PIL
    assert ours(batch, return_tensors="np", size=4, ensure_multiple_of=8).pixel_values.shape == (2, 3, 8, 8)
    gray = Image.fromarray(np.asarray(batch[0])[..., 0])
    assert ours(gray, return_tensors="np").pixel_values.shape == (1, 3, 24, 24)
