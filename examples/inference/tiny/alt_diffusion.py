"""AltDiffusion 的小模型：结构同 Stable Diffusion，文本编码器为 XLM-RoBERTa。"""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

from ppdiffusers import AltDiffusionPipeline
from ppdiffusers.pipelines.alt_diffusion.modeling_roberta_series import (
    RobertaSeriesConfig,
    RobertaSeriesModelWithTransformation,
)
from ppdiffusers.transformers import XLMRobertaTokenizer
from ppdiffusers.transformers.sentencepiece_model import SPACE, PieceType, SentencePieceModel
from tiny import parts, stable_diffusion

# 词表：每个字符一个 token，概率相同；其余字符为 <unk>
CHARACTERS = SPACE + "abcdefghijklmnopqrstuvwxyz，。雪山脚下的小木屋水彩画油一只猫个红色圆形白背景草原上城堡"


def tokenizer() -> XLMRobertaTokenizer:
    """创建最小的 SentencePiece 模型，文件格式与发布的模型相同。"""
    score = -math.log(len(CHARACTERS))
    specials = [
        ("<unk>", 0.0, PieceType.UNKNOWN),
        ("<s>", 0.0, PieceType.CONTROL),
        ("</s>", 0.0, PieceType.CONTROL),
    ]
    pieces = [(character, score, PieceType.NORMAL) for character in CHARACTERS]
    model = SentencePieceModel.from_pieces([*specials, *pieces])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sentencepiece.bpe.model"
        file.write_bytes(model.data)
        return XLMRobertaTokenizer(file, model_max_length=77)


def text_encoder(vocabulary: XLMRobertaTokenizer) -> RobertaSeriesModelWithTransformation:
    config = RobertaSeriesConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=80,  # 位置编号从 2 开始
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        project_dim=parts.WIDTH,
    )
    return RobertaSeriesModelWithTransformation(config)


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    vocabulary = tokenizer()
    shared = stable_diffusion.components()
    AltDiffusionPipeline(
        **{**shared, "tokenizer": vocabulary, "text_encoder": text_encoder(vocabulary)}
    ).save_pretrained(folder)
    return folder
