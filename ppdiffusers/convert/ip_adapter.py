"""IP-Adapter files: the kinds of image projection, and the names that their tensors have in diffusers."""

from __future__ import annotations

from ppdiffusers.convert.rules import KeyMapping, Rename, Rule, Split

# The two parts of a file.
IMAGE_PROJECTION, ATTENTION = "image_proj.", "ip_adapter."


def _feed_forward(source: str, target: str) -> tuple[Rule, ...]:
    return (
        Rename(f"{source}.0.*", f"{target}.net.0.proj.*", optional=True),
        Rename(f"{source}.2.*", f"{target}.net.2.*", optional=True),
    )


def _resampler(prefix: str) -> tuple[Rule, ...]:
    """The layers of a resampler; the last three rules are for files that already name the attention `attn`."""
    layer, new = f"{prefix}layers.*", "layers.*"
    keys_and_values = (f"{new}.attn.to_k.weight", f"{new}.attn.to_v.weight")
    return (
        Rename(f"{layer}.0.norm1.*", f"{new}.ln0.*", optional=True),
        Rename(f"{layer}.0.norm2.*", f"{new}.ln1.*", optional=True),
        Rename(f"{layer}.0.to_q.weight", f"{new}.attn.to_q.weight", optional=True),
        Split(f"{layer}.0.to_kv.weight", keys_and_values, optional=True),
        Rename(f"{layer}.0.to_out.weight", f"{new}.attn.to_out.0.weight", optional=True),
        Rename(f"{layer}.1.0.*", f"{new}.ff.0.*", optional=True),
        Rename(f"{layer}.1.1.weight", f"{new}.ff.1.net.0.proj.weight", optional=True),
        Rename(f"{layer}.1.3.weight", f"{new}.ff.1.net.2.weight", optional=True),
        Split(f"{layer}.attn.to_kv.weight", keys_and_values, optional=True),
        Rename(f"{layer}.attn.to_out.weight", f"{new}.attn.to_out.0.weight", optional=True),
    )


BASE = KeyMapping(
    "the image projection of IP-Adapter",
    present=("proj.weight",),
    rules=(Rename("proj.*", "image_embeds.*"),),
)
FULL_FACE = KeyMapping(
    "the image projection of IP-Adapter full-face",
    present=("proj.3.weight",),
    rules=(*_feed_forward("proj", "ff"), Rename("proj.3.*", "norm.*")),
)
FACE_ID_PLUS = KeyMapping(
    "the image projection of IP-Adapter FaceID Plus",
    present=("perceiver_resampler.proj_in.weight",),
    rules=(
        *_feed_forward("proj", "proj"),
        *(Rename(f"perceiver_resampler.{name}.*", f"{name}.*") for name in ("proj_in", "proj_out", "norm_out")),
        *_resampler("perceiver_resampler."),
    ),
)
FACE_ID = KeyMapping(
    "the image projection of IP-Adapter FaceID",
    present=("norm.weight",),
    rules=_feed_forward("proj", "ff"),
)
PLUS = KeyMapping(
    "the image projection of IP-Adapter Plus",
    present=("latents",),
    rules=_resampler(""),
)
# The first that matches counts: most kinds have a `norm.weight`.
KINDS = (BASE, FULL_FACE, FACE_ID_PLUS, FACE_ID, PLUS)
