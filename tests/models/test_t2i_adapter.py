"""T2IAdapter and MultiAdapter against diffusers, alone and with a UNet that adds their residuals."""

import diffusers
import numpy as np
import paddle
import pytest

from ppdiffusers import MultiAdapter, T2IAdapter
from ppdiffusers.conversion.verify import MODEL_TOLERANCE, largest_distance, measure_component
from ppdiffusers.core.errors import ConfigError, InputError, SourceError
from ppdiffusers.registry import components
from tests.models.support import assert_same_keys, both, twins
from tests.support.parity import assert_close, noise, randomize

SMALL = {"channels": [8, 12, 16, 16], "num_res_blocks": 2, "downscale_factor": 4}
CASES = {
    "full": SMALL,
    "full, one channel": {**SMALL, "in_channels": 1, "num_res_blocks": 1},
    "full, narrower and wider": {**SMALL, "channels": [12, 8, 16]},
    "xl": {**SMALL, "adapter_type": "full_adapter_xl"},
    "xl, three levels": {**SMALL, "adapter_type": "full_adapter_xl", "channels": [8, 12, 12]},
    "light": {**SMALL, "adapter_type": "light_adapter", "channels": [8, 12, 16]},
    "light, no residual blocks": {**SMALL, "adapter_type": "light_adapter", "channels": [8, 12], "num_res_blocks": 0},
}
# networks with published weights: TencentARC/t2iadapter_canny_sd14v1, -color_sd14v1 and t2i-adapter-canny-sdxl-1.0
PUBLISHED = {
    "full": {"adapter_type": "full_adapter", "channels": [320, 640, 1280, 1280], "in_channels": 1},
    "light": {"adapter_type": "light_adapter", "channels": [320, 640, 1280], "num_res_blocks": 4},
    "full_xl": {"adapter_type": "full_adapter_xl", "channels": [320, 640, 1280, 1280], "downscale_factor": 16},
}


@pytest.mark.parametrize("case", CASES)
def test_residuals(tmp_path, case):
    """Odd sizes are rounded up at each level."""
    ours, reference = twins(tmp_path, diffusers.T2IAdapter(**CASES[case]))
    (x, tx) = both(noise((2, ours.config.in_channels, 20, 44)))
    mine, theirs = ours(x), reference(tx)
    assert len(mine) == len(theirs)
    for n, (one, other) in enumerate(zip(mine, theirs, strict=True)):
        assert_close(one, other, what=f"residual {n}")
        factor = ours.features[n].downscale
        assert one.shape[1:] == [ours.features[n].channels, -(-20 // factor), -(-44 // factor)]
    assert ours.total_downscale_factor == reference.total_downscale_factor
    assert ours.downscale_factor == reference.downscale_factor


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_networks(case):
    assert_same_keys(T2IAdapter, diffusers.T2IAdapter, PUBLISHED[case])


@pytest.mark.parametrize("case", ["full", "xl", "light"])
def test_verification_and_saving(tmp_path, case):
    ours, reference = twins(tmp_path / "torch", diffusers.T2IAdapter(**CASES[case]))
    entry = components()["T2IAdapter"]
    measured = measure_component(entry, tmp_path / "torch", tmp_path / "torch")
    assert largest_distance(case, measured) <= MODEL_TOLERANCE
    ours.save_pretrained(tmp_path / "paddle")
    ours.save_pretrained(tmp_path / "back", to_diffusers=True)
    x, tx = both(noise((1, 3, 16, 16)))
    for again in (T2IAdapter.from_pretrained(tmp_path / "paddle")(x), diffusers.T2IAdapter.from_pretrained(
        tmp_path / "back")(tx)):  # fmt: skip
        for one, other in zip(again, reference(tx), strict=True):
            assert_close(one, other)


# -- with a UNet ------------------------------------------------------------------------------------------------------

SD1 = {
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 24,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
XL = {
    **SD1,
    "block_out_channels": (8, 12, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
SELF_ATTENTION = {**SD1, "down_block_types": ("CrossAttnDownBlock2D", "AttnDownBlock2D")}
# configurations of UNet and adapter, with control images of 4 times the height and width of latents
PAIRS = {
    "Stable Diffusion": (SD1, {**SMALL, "channels": [8, 16]}),
    "self-attention": (SELF_ATTENTION, {**SMALL, "channels": [8, 16]}),
    "XL": (XL, {"adapter_type": "full_adapter_xl", "channels": [8, 12, 16, 16], "downscale_factor": 8}),
    "fewer residuals than levels": (XL, {"channels": [8], "downscale_factor": 8}),
}


@pytest.mark.parametrize("case", PAIRS)
def test_unet_adds_the_residuals(tmp_path, case):
    unet, adapter = PAIRS[case]
    ours, reference = twins(tmp_path / "unet", diffusers.UNet2DConditionModel(**unet))
    mine, theirs = twins(tmp_path / "adapter", diffusers.T2IAdapter(**adapter))
    # 18 x 10 is halved to odd sizes
    (x, tx), (text, ttext) = both(noise((2, 4, 18, 10))), both(noise((2, 5, 24), "text"))
    image, timage = both(noise((2, 3, 72, 40), "image"))
    result = ours(x, 3, text, down_intrablock_additional_residuals=mine(image)).sample
    expected = reference(tx, 3, ttext, down_intrablock_additional_residuals=theirs(timage)).sample
    assert_close(result, expected)
    assert np.abs((result - ours(x, 3, text).sample).numpy()).max() > 1e-2


def test_residuals_under_the_old_name(tmp_path):
    """`down_block_additional_residuals` alone are those of an adapter, with diffusers' warning."""
    unet, _ = PAIRS["Stable Diffusion"]
    ours, reference = twins(tmp_path, diffusers.UNet2DConditionModel(**unet))
    (x, tx), (text, ttext) = both(noise((2, 4, 8, 8))), both(noise((2, 5, 24), "text"))
    inside = [both(noise((2, 8, 8, 8), "adapter 0")), both(noise((2, 16, 4, 4), "adapter 1"))]
    with pytest.warns(FutureWarning, match="down_intrablock_additional_residuals"):
        mine = ours(x, 3, text, down_block_additional_residuals=[one for one, _ in inside]).sample
    with pytest.warns(FutureWarning, match="down_intrablock_additional_residuals"):
        theirs = reference(tx, 3, ttext, down_block_additional_residuals=[one.clone() for _, one in inside]).sample
    assert_close(mine, theirs)
    new = ours(x, 3, text, down_intrablock_additional_residuals=tuple(one for one, _ in inside)).sample
    assert bool((mine == new).all())


# -- several adapters -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """(ours, diffusers', the folder of the first adapter); the adapters read 3 channels and 1."""
    folder = tmp_path_factory.mktemp("several") / "adapter"
    adapters = [randomize(diffusers.T2IAdapter(**SMALL, in_channels=n), n) for n in (3, 1)]
    reference = diffusers.MultiAdapter(adapters).eval()
    reference.save_pretrained(str(folder))
    return MultiAdapter.from_pretrained(folder), reference, folder


@pytest.mark.parametrize("weights", [None, [0.3, 1.2]])
def test_weighted_sum(several, weights):
    ours, reference, _ = several
    images = [both(noise((2, n, 8, 16), f"image {n}")) for n in (3, 1)]
    mine, theirs = ours([i for i, _ in images], weights), reference([t for _, t in images], weights)
    for one, other in zip(mine, theirs, strict=True):
        assert_close(one, other)


def test_folders(several, tmp_path):
    ours, reference, folder = several
    assert {path.name for path in folder.parent.iterdir()} == {"adapter", "adapter_1"}
    ours.save_pretrained(tmp_path / "paddle")
    ours.save_pretrained(tmp_path / "back", to_diffusers=True)
    again, back = (
        MultiAdapter.from_pretrained(tmp_path / "paddle"),
        diffusers.MultiAdapter.from_pretrained(str(tmp_path / "back")),
    )
    images = [both(noise((1, n, 8, 8), f"image {n}")) for n in (3, 1)]
    for found in (again([i for i, _ in images]), back([t for _, t in images])):
        for one, other in zip(found, reference([t for _, t in images]), strict=True):
            assert_close(one, other)
    MultiAdapter([*ours.adapters, ours.adapters[0]]).save_pretrained(tmp_path / "paddle")
    assert len(MultiAdapter.from_pretrained(tmp_path / "paddle").adapters) == 3
    ours.save_pretrained(tmp_path / "paddle")
    assert len(MultiAdapter.from_pretrained(tmp_path / "paddle").adapters) == 2


def test_folders_of_three_adapters_as_diffusers_names_them(tmp_path):
    """diffusers 0.35 saves the third adapter as `adapter_1_2`, which it does not load."""
    adapters = [randomize(diffusers.T2IAdapter(**SMALL), n) for n in range(4)]
    reference = diffusers.MultiAdapter(adapters).eval()
    reference.save_pretrained(str(tmp_path / "adapter"))
    assert (tmp_path / "adapter_1_2_3").is_dir()
    ours = MultiAdapter.from_pretrained(tmp_path / "adapter")
    images = [both(noise((1, 3, 8, 8), f"image {n}")) for n in range(4)]
    weights = [0.5, 1.0, 1.5, 2.0]
    expected = reference([t for _, t in images], weights)
    for one, other in zip(ours([i for i, _ in images], weights), expected, strict=True):
        assert_close(one, other)
    MultiAdapter(ours.adapters[:2]).save_pretrained(tmp_path / "adapter")
    assert len(MultiAdapter.from_pretrained(tmp_path / "adapter").adapters) == 2


# -- errors -----------------------------------------------------------------------------------------------------------


def test_invalid_configurations():
    with pytest.raises(ConfigError, match="adapter_type = 'heavy'"):
        T2IAdapter(adapter_type="heavy")
    with pytest.raises(ConfigError, match="channels of levels 2 and 3 are 16 and 20"):
        T2IAdapter(channels=[8, 12, 16, 20], adapter_type="full_adapter_xl")
    with pytest.raises(ConfigError, match="channels is empty"):
        T2IAdapter(channels=[])


def test_invalid_inputs():
    adapter = T2IAdapter(**SMALL)
    with pytest.raises(InputError, match=r"of shape \[1, 1, 8, 8\], expected \[B, 3, H, W\]"):
        adapter(paddle.zeros([1, 1, 8, 8]))
    with pytest.raises(InputError, match=r"\[8, 10\], not positive multiples of 4"):
        adapter(paddle.zeros([1, 3, 8, 10]))


def test_adapters_that_cannot_be_combined(several, tmp_path):
    ours, _, _ = several
    first = ours.adapters[0]
    for count in (0, 1):
        with pytest.raises(InputError, match=rf"{count} adapter\(s\) are given"):
            MultiAdapter([first] * count)
    with pytest.raises(InputError, match=r"adapters\[1\] has residuals") as error:
        MultiAdapter([first, T2IAdapter(**{**SMALL, "downscale_factor": 8}), T2IAdapter(**{**SMALL, "channels": [8]})])
    assert len(error.value.problems) == 2
    with pytest.raises(InputError) as error:
        ours([paddle.zeros([1, 3, 8, 8])], [1.0, 2.0, 3.0])
    assert len(error.value.problems) == 2
    with pytest.raises(SourceError, match="first T2IAdapter does not exist"):
        MultiAdapter.from_pretrained(tmp_path / "adapter")
