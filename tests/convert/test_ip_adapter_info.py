"""What IP-Adapter files are: the shapes of the published files (h94/IP-Adapter, h94/IP-Adapter-FaceID)."""

from types import SimpleNamespace

import pytest

from ppdiffusers.convert.ip_adapter_info import describe_ip_adapter

RESAMPLER = {"latents": (1, 16, 1280), "proj_out.weight": (2048, 1280), "norm_out.weight": (2048,)}
FACE = {"proj.0.weight": (1024, 512), "proj.2.weight": (8192, 1024), "norm.weight": (2048,)}
# name -> image projection, width of the prompt embeddings, variant, channels, image encoder
PUBLISHED = {
    "ip-adapter_sd15": ({"proj.weight": (3072, 1024), "norm.weight": (768,)}, 768, "base", 1024, "CLIP ViT-H"),
    "ip-adapter_sdxl": ({"proj.weight": (8192, 1280), "norm.weight": (2048,)}, 2048, "base", 1280, "CLIP ViT-bigG"),
    "ip-adapter_sdxl_vit-h": ({"proj.weight": (8192, 1024)}, 2048, "base", 1024, "CLIP ViT-H"),
    "ip-adapter-plus_sdxl_vit-h": (
        {**RESAMPLER, "proj_in.weight": (1280, 1280)}, 2048, "Plus", 1280, "CLIP ViT-H"
    ),
    "ip-adapter-full-face_sd15": (
        {"proj.0.weight": (1280, 1280), "proj.2.weight": (768, 1280), "proj.3.weight": (768,)},
        768, "full face", 1280, "CLIP ViT-H",
    ),
    "ip-adapter-faceid_sdxl": (FACE, 2048, "FaceID", None, None),
    "ip-adapter-faceid-plusv2_sdxl": (
        {**FACE, "perceiver_resampler.proj_in.weight": (2048, 1280)}, 2048, "FaceID Plus", 1280, "CLIP ViT-H"
    ),
    "trained with another encoder": ({"proj.weight": (3072, 768)}, 768, "base", 768, None),
    "another projection": ({"mlp.weight": (3072, 768)}, 768, "unknown", None, None),
}  # fmt: skip


def tensors(projection, width):
    """Tensors of a file, which only have shapes."""
    shapes = {f"image_proj.{name}": shape for name, shape in projection.items()}
    shapes["ip_adapter.1.to_k_ip.weight"] = shapes["ip_adapter.1.to_v_ip.weight"] = (320, width)
    return {name: SimpleNamespace(shape=shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files(name):
    projection, width, variant, channels, encoder = PUBLISHED[name]
    found = describe_ip_adapter(tensors(projection, width))
    assert (found.variant, found.cross_attention_dim, found.channels) == (variant, width, channels)
    assert encoder == (None if found.encoder is None else found.encoder.name)


def test_other_files():
    assert describe_ip_adapter(tensors({}, 768)) is None
    assert describe_ip_adapter({"image_proj.proj.weight": SimpleNamespace(shape=(3072, 1024))}) is None
