"""A tiny VQ-Diffusion checkpoint with random weights, saved by diffusers."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import LearnedClassifierFreeSamplingEmbeddings

from tests.support.checkpoints import tiny_text_encoder, tiny_tokenizer
from tests.support.parity import randomize

CODES = 13  # size of the codebook; the transformer and the scheduler have one more, the mask
SIDE = 5


def tiny_vq_diffusion(tmp_path: Path, learnable: bool = True) -> Path:
    """The autoencoder halves height and width: images of 10 x 10."""
    vqvae = diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        num_vq_embeddings=CODES,
        vq_embed_dim=8,
    )
    transformer = diffusers.Transformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        cross_attention_dim=32,
        attention_bias=True,
        sample_size=SIDE,
        num_vector_embeds=CODES + 1,
        activation_fn="geglu-approximate",
        num_embeds_ada_norm=100,
        norm_type="ada_norm",
    )
    tokenizer = tiny_tokenizer(tmp_path / "vocabulary")
    embeddings = {"hidden_size": 32, "length": 77} if learnable else {}
    pipeline = diffusers.VQDiffusionPipeline(
        vqvae=randomize(vqvae),
        text_encoder=tiny_text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        transformer=randomize(transformer),
        scheduler=diffusers.VQDiffusionScheduler(CODES + 1),
        learned_classifier_free_sampling_embeddings=randomize(
            LearnedClassifierFreeSamplingEmbeddings(learnable, **embeddings)
        ),
    )
    folder = tmp_path / "vq-diffusion"
    pipeline.save_pretrained(folder)
    set_library(folder, LearnedClassifierFreeSamplingEmbeddings.__module__)
    return folder


def set_library(folder: Path, library: str) -> None:
    """Set the module of the embeddings in `model_index.json`: diffusers cannot load what it writes."""
    file = folder / "model_index.json"
    index = json.loads(file.read_text("utf-8"))
    index["learned_classifier_free_sampling_embeddings"][0] = library
    file.write_text(json.dumps(index), "utf-8")
