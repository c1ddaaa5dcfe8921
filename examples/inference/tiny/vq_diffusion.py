"""VQ-Diffusion 的小模型：Transformer 在 8 x 8 的码本索引上去噪，VQ 自编码器将索引解码为图像。"""

from pathlib import Path

from ppdiffusers import Transformer2DModel, VQDiffusionPipeline, VQDiffusionScheduler
from ppdiffusers.pipelines.vq_diffusion.learned_embeddings import LearnedClassifierFreeSamplingEmbeddings
from tiny import parts

CODES = 64  # 码本大小；Transformer 和调度器另有一个掩码索引


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    vocabulary = parts.tokenizer()
    transformer = Transformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        cross_attention_dim=parts.WIDTH,
        attention_bias=True,
        sample_size=8,
        num_vector_embeds=CODES + 1,
        activation_fn="geglu-approximate",
        num_embeds_ada_norm=100,
        norm_type="ada_norm",
    )
    VQDiffusionPipeline(
        vqvae=parts.vq_model(latent_channels=16, vq_embed_dim=16, num_vq_embeddings=CODES),
        text_encoder=parts.text_encoder(vocabulary),
        tokenizer=vocabulary,
        transformer=transformer,
        scheduler=VQDiffusionScheduler(CODES + 1),
        learned_classifier_free_sampling_embeddings=LearnedClassifierFreeSamplingEmbeddings(
            learnable=True, hidden_size=parts.WIDTH, length=77
        ),
    ).save_pretrained(folder)
    return folder
