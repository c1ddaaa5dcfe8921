"""File names of weights, in the order in which they are preferred."""

from __future__ import annotations

# Our own files; "diffusion_paddle_model" is what the first ppdiffusers wrote.
OUR_STEM = "model_state"
PADDLE_STEMS = (OUR_STEM, "diffusion_paddle_model")


def candidate_names(
    stems: tuple[str, ...], variant: str | None = None, use_safetensors: bool | None = None
) -> list[str]:
    """File names in the order in which a folder is searched for them.

    Args:
        stems: file names, without endings, that PyTorch's side uses.
        variant: such as "fp16": only files of this variant.
        use_safetensors: True: only `.safetensors`; False: only pickles; None: either.
    """
    groups = [(PADDLE_STEMS, ".safetensors"), (PADDLE_STEMS, ".pdparams"), (stems, ".safetensors"), (stems, ".bin")]
    names: list[str] = []
    for group, suffix in groups:
        if use_safetensors is not None and use_safetensors != (suffix == ".safetensors"):
            continue
        for stem in group:
            names += [f"{stem}{'.' + variant if variant else ''}{suffix}", *index_names(stem, suffix, variant)]
    return names


def index_names(stem: str, suffix: str, variant: str | None) -> list[str]:
    """Names of the file that says which shard holds which tensor; the first is the one we write."""
    if not variant:
        return [f"{stem}{suffix}.index.json"]
    return [f"{stem}{suffix}.index.{variant}.json", f"{stem}.{variant}{suffix}.index.json"]


def preferred_names(
    stems: tuple[str, ...], variant: str | None = None, use_safetensors: bool | None = None
) -> list[str]:
    """The same names in the order in which they are fetched: what cannot run code before any pickle."""
    names = candidate_names(stems, variant, use_safetensors)
    return sorted(names, key=lambda name: ".safetensors" not in name)
