"""The table of checkpoint families. It imports no reader, so that `--help` is fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppdiffusers.core.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers.convert.checkpoints.base import Reader


@dataclass(frozen=True)
class Part:
    """One file of a checkpoint that consists of several files.

    Attributes:
        patterns: names that its file may have (`fnmatch`).
        has_weights: whether it contains tensors; other files are those of tokenizers.
        optional: the checkpoint may lack it.
    """

    patterns: tuple[str, ...]
    has_weights: bool = True
    optional: bool = False


@dataclass(frozen=True)
class CheckpointFamily:
    """One family of original checkpoints.

    Attributes:
        name: name of its modules in `convert/checkpoints` and `convert/names`.
        title: name for error messages and reports.
        help: which repositories it covers and which configuration it needs, for the help of the command line.
        parts: name -> file, if a checkpoint consists of several files in one folder.
    """

    name: str
    title: str
    help: str
    parts: Mapping[str, Part] = field(default_factory=dict)

    def reader(self) -> Reader:
        """Import the module that reads checkpoints of this family."""
        return importlib.import_module(f"ppdiffusers.convert.checkpoints.{self.name}")


FAMILIES: dict[str, CheckpointFamily] = {
    family.name: family
    for family in (
        CheckpointFamily(
            "guided_diffusion",
            "OpenAI guided-diffusion",
            "OpenAI's guided-diffusion and improved-diffusion; --config: the flags of its scripts, or JSON",
        ),
        CheckpointFamily(
            "ddpm",
            "DDPM (pytorch_diffusion, ddim)",
            "pytorch_diffusion and ddim; --set resolution=N, or --config with ddim's YAML",
        ),
        CheckpointFamily(
            "compvis_ldm",
            "CompVis latent diffusion, unconditional",
            "CompVis' unconditional latent diffusion with a VQ autoencoder; --config: its YAML",
        ),
        CheckpointFamily(
            "ncsnpp",
            "score_sde NCSN++",
            "score_sde's NCSN++ (variance exploding); --config: its values as YAML or JSON",
        ),
        CheckpointFamily(
            "dance_diffusion",
            "Dance Diffusion (audio-diffusion)",
            "Harmonai's Dance Diffusion; --set sample_size=N --set sample_rate=N",
        ),
        CheckpointFamily(
            "glide",
            "GLIDE",
            "OpenAI's GLIDE, a folder with base.pt and upsample.pt, or base_inpaint.pt and upsample_inpaint.pt, and "
            "vocab.bpe.gz of its tokenizer",
            parts={
                "base": Part(("base.*", "base_inpaint.*")),
                "upsample": Part(("upsample.*", "upsample_inpaint.*")),
                "merges": Part(("vocab.bpe.gz", "vocab.bpe", "merges.txt"), has_weights=False),
            },
        ),
        CheckpointFamily(
            "karlo",
            "Karlo",
            "Kakao Brain's Karlo (unCLIP), a folder with its files of prior, decoder and improved super-resolution and "
            "with ViT-L-14_stats.th",
            parts={
                "prior": Part(("prior*",)),
                "decoder": Part(("decoder*",)),
                "super_res": Part(("improved-sr*", "super_res.*")),
                "clip_stats": Part(("*_stats.*",)),
            },
        ),
        CheckpointFamily(
            "taesd",
            "TAESD",
            "TAESD, a tiny autoencoder, a folder with taesd_encoder.pth and taesd_decoder.pth (or taesdxl_, taesd3_, "
            "taef1_)",
            parts={part: Part((f"*_{part}.*", f"{part}.*")) for part in ("encoder", "decoder")},
        ),
        CheckpointFamily(
            "bddm",
            "BDDM",
            "BDDM, a vocoder; --config: its conf.yml, if it differs from that of LJSpeech",
        ),
        CheckpointFamily(
            "fastdiff",
            "FastDiff",
            "FastDiff, a vocoder; --config: its YAML, if it differs from that of LJSpeech",
        ),
        CheckpointFamily(
            "grad_tts",
            "Grad-TTS",
            "Grad-TTS; --set beta_max=N --set pe_scale=N ..., if its params.py differs (grad-tts-old.pt: pe_scale=1)",
        ),
        CheckpointFamily(
            "hifigan",
            "HiFi-GAN",
            "HiFi-GAN's generator, a vocoder; --config: its config.json",
        ),
    )
}


def find_family(name: str) -> CheckpointFamily:
    """Return the family with this name.

    Raises:
        InputError: the family is unknown.
    """
    if name not in FAMILIES:
        raise InputError(f"{name!r} is not a known family of checkpoints.", expected=", ".join(FAMILIES))
    return FAMILIES[name]
