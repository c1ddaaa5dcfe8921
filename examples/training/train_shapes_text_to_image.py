"""从头训练中英文文生图小模型（Stable Diffusion 结构），保存为 diffusers 格式的 PyTorch 检查点。

    pip install torch diffusers transformers ftfy
    python examples/training/train_shapes_text_to_image.py --output_dir shapes-bilingual
    python examples/training/train_shapes_text_to_image.py --output_dir /tmp/tiny --tiny   # 一分钟内跑通全流程

步骤：由描述文本训练 CLIP 分词器；训练 VAE，再单独微调解码器；预训练文本编码器；联合训练文本编码器与 UNet。
在四核 CPU 上不到一小时。训练中定期保存，中断后使用 --resume 恢复。
"""

import argparse
import collections
import json
import math
import random
import re
from pathlib import Path

import numpy as np
import shapes  # 同目录的数据集模块
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPTokenizerFast

MAX_TOKENS = 32  # 描述最长不超过 30 个 token；比 77 短，训练和推理更快
CAPTION_DROPOUT = 0.1  # 描述替换为空字符串的概率，用于无分类器引导
MERGES = 320

FULL = {
    "images": 20000,
    "vae_channels": (16, 32, 48, 64),
    "unet_channels": (80, 112),
    "text_width": 128,
    "text_layers": 3,
    "batch": 32,
    "text_steps": 600,
}
TINY = {
    "images": 64,
    "vae_channels": (8, 8, 8, 8),
    "unet_channels": (16, 16),
    "text_width": 16,
    "text_layers": 1,
    "batch": 8,
    "text_steps": 4,
}


# ---- 分词器 ----


def byte_symbols():
    """返回字节 -> 词表中的可见字符（与 GPT-2、CLIP 相同）。"""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in visible]
    return {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(hidden)}


def all_captions():
    """返回训练分词器的全部描述，覆盖所有颜色、图形、背景和大小。"""
    scenes = [shapes.Scene(c, s, b) for c, s, b in shapes.combinations()]
    scenes += [shapes.Scene("red", "circle", "white", size) for size in shapes.SIZES]
    return [text for scene in scenes for language in ("zh", "en") for text in shapes.captions(scene, language)]


def learn_merges(texts, count):
    """字节对编码（BPE）：每次合并频率最高的一对，频率相同时按字典序，结果是确定的。"""
    symbols = byte_symbols()
    words = collections.Counter()
    for text in texts:
        for word in re.findall(r"[^\W\d_]+|\d|[^\s\w]+", text.replace("，", ",")) + re.findall(
            r"[\u4e00-\u9fff]", text
        ):
            letters = [symbols[b] for b in word.encode()]
            words[(*letters[:-1], letters[-1] + "</w>")] += 1
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, times in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = collections.Counter({merge(word, best): times for word, times in words.items()})
    return merges


def merge(word, pair):
    out = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return tuple(out)


def make_tokenizer(folder):
    letters = list(byte_symbols().values())
    merges = learn_merges(all_captions(), MERGES)
    tokens = [*letters, *(c + "</w>" for c in letters), *(a + b for a, b in merges)]
    tokens = list(dict.fromkeys(tokens)) + ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_TOKENS)
    tokenizer.save_pretrained(folder)
    return tokenizer


class Captions:
    """将描述转换为 token id。

    transformers 的 CLIP 分词器有三种行为：安装 ftfy 的慢速版将“，”替换为“,”；未安装 ftfy 的慢速版拆分汉字；
    快速版不做这两种处理。训练时随机混用，推理时兼容任意一种。
    """

    def __init__(self, folder):
        self.tokenizers = [CLIPTokenizer.from_pretrained(folder), CLIPTokenizerFast.from_pretrained(folder)]
        self.seen = {}

    def __call__(self, texts, rng):
        return torch.stack([self._ids(text, rng.randrange(2), rng.random() < 0.25) for text in texts])  # [B, 32]

    def _ids(self, text, which, apart):
        key = (text, which, apart)
        if key not in self.seen:
            text = re.sub(r"([\u4e00-\u9fff])", r" \1 ", text) if apart else text
            ids = self.tokenizers[which](text, padding="max_length", max_length=MAX_TOKENS, truncation=True).input_ids
            self.seen[key] = torch.tensor(ids)
        return self.seen[key]


# ---- 网络 ----


def make_vae(sizes):
    channels = sizes["vae_channels"]
    return AutoencoderKL(
        sample_size=shapes.SIZE,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
    )


def make_text_encoder(sizes, tokenizer):
    width = sizes["text_width"]
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=sizes["text_layers"],
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def make_unet(sizes):
    channels = sizes["unet_channels"]
    return UNet2DConditionModel(
        sample_size=shapes.SIZE // 8,
        block_out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * len(channels),
        up_block_types=("CrossAttnUpBlock2D",) * len(channels),
        layers_per_block=1,
        cross_attention_dim=sizes["text_width"],
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_scheduler():
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


# ---- 训练 ----


def draw_images(count, rng):
    """绘制训练集，返回场景列表和 uint8 图像 [N, 3, 64, 64]。"""
    combos = shapes.train_combinations()
    scenes = [shapes.random_scene(rng, combos) for _ in range(count)]
    images = np.stack([shapes.draw(scene, rng) for scene in tqdm(scenes, desc="绘制图像")])
    return scenes, torch.from_numpy(images).permute(0, 3, 1, 2)


def to_signed(images):
    return images.float() / 127.5 - 1  # uint8 -> [-1, 1]


def one_cycle(step, steps, warm_up=0.05):
    """学习率系数：先线性升至 1，再按余弦降至接近 0。"""
    if step < warm_up * steps:
        return (step + 1) / (warm_up * steps + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up * steps) / ((1 - warm_up) * steps))) + 1e-3


def set_learning_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate


def train_vae(vae, images, steps, batch):
    """以重建误差（L1 + L2）训练 VAE。潜变量的方差固定为较小的值，加快训练，并使均值接近 0。"""
    optimizer = torch.optim.AdamW(vae.parameters(), weight_decay=0.0)
    progress = tqdm(range(steps), desc="VAE")
    for step in progress:
        set_learning_rate(optimizer, 2e-3 * one_cycle(step, steps))
        x = to_signed(images[torch.randint(len(images), (batch,))])  # [B, 3, 64, 64]
        posterior = vae.encode(x).latent_dist
        latents = posterior.mean + 0.05 * torch.randn_like(posterior.mean)
        restored = vae.decode(latents).sample
        prior = 1e-3 * posterior.mean.square().mean() + 1e-3 * (posterior.logvar - 2 * math.log(0.05)).square().mean()
        loss = F.l1_loss(restored, x) + F.mse_loss(restored, x) + prior
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}")


def finetune_decoder(vae, images, latents, steps, batch):
    """固定编码器，继续训练解码器：潜变量不变，无需重新训练 UNet，图像更清晰。

    对潜变量加入少量噪声，使解码器能容忍 UNet 的误差。
    """
    parameters = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0)
    progress = tqdm(range(steps), desc="解码器")
    for step in progress:
        set_learning_rate(optimizer, 1.5e-3 * one_cycle(step, steps))
        index = torch.randint(len(latents), (batch,))
        x = to_signed(images[index])  # [B, 3, 64, 64]
        z = latents[index] / vae.config.scaling_factor
        restored = vae.decode(z + 0.08 * torch.randn_like(z)).sample
        loss = F.l1_loss(restored, x) + F.mse_loss(restored, x)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}")
    vae.requires_grad_(False)


def train_text_encoder(text_encoder, captions, steps, batch, rng):
    """预训练文本编码器，从描述预测颜色、图形、背景和大小，使 UNet 从一开始就有可用的条件。"""
    fields = {"color": shapes.COLORS, "shape": shapes.SHAPES, "background": shapes.BACKGROUNDS, "size": shapes.SIZES}
    width = text_encoder.config.hidden_size
    heads = torch.nn.ModuleDict({name: torch.nn.Linear(width, len(table)) for name, table in fields.items()})
    optimizer = torch.optim.AdamW([*text_encoder.parameters(), *heads.parameters()], weight_decay=1e-4)
    combos = shapes.train_combinations()
    progress = tqdm(range(steps), desc="文本编码器")
    for step in progress:
        set_learning_rate(optimizer, 1e-3 * one_cycle(step, steps))
        scenes = [shapes.random_scene(rng, combos) for _ in range(batch)]
        texts = [rng.choice(shapes.captions(scene, rng.choice(("zh", "en")))) for scene in scenes]
        output = text_encoder(captions(texts, rng))
        loss = 0.0
        for name, table in fields.items():
            target = torch.tensor([list(table).index(getattr(scene, name)) for scene in scenes])
            for state in (output.pooler_output, output.last_hidden_state[:, -1]):
                loss = loss + F.cross_entropy(heads[name](state), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}")


@torch.no_grad()
def encode_all(vae, images):
    """计算全部图像的潜变量 [N, 4, 8, 8]，并设置 scaling_factor 使其标准差为 1。"""
    parts = [vae.encode(to_signed(part)).latent_dist.mode() for part in tqdm(images.split(64), desc="编码")]
    latents = torch.cat(parts)
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    return latents * vae.config.scaling_factor


class Average:
    """参数的指数滑动平均（EMA），推理时使用，比最后一步的参数更稳定。"""

    def __init__(self, modules, decay=0.998):
        self.modules, self.decay = modules, decay
        self.values = [p.detach().clone() for m in modules for p in m.parameters()]

    def update(self, step):
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [p.detach() for m in self.modules for p in m.parameters()]
        torch._foreach_lerp_(self.values, current, 1 - decay)

    def swap(self):
        """与网络的参数互换；再次调用即可换回。"""
        for value, parameter in zip(self.values, (p for m in self.modules for p in m.parameters()), strict=True):
            value_now = parameter.detach().clone()
            parameter.data.copy_(value)
            value.copy_(value_now)


def denoising_loss(unet, text_encoder, scheduler, latents, ids):
    """噪声预测损失，按 Min-SNR（arXiv 2303.09556，gamma=5）加权以平衡各时间步。"""
    t = torch.randint(scheduler.config.num_train_timesteps, (len(latents),))
    noise = torch.randn_like(latents)
    noisy = scheduler.add_noise(latents, noise, t)  # [B, 4, 8, 8]
    states = text_encoder(ids)[0]  # [B, 32, width]
    predicted = unet(noisy, t, states).sample
    alpha = scheduler.alphas_cumprod[t]
    snr = alpha / (1 - alpha)
    weight = snr.clamp(max=5.0) / snr
    return (weight * F.mse_loss(predicted, noise, reduction="none").mean((1, 2, 3))).mean()


def train_denoiser(parts, latents, scenes, args, sizes, start, save):
    unet, text_encoder, captions = parts["unet"], parts["text_encoder"], parts["captions"]
    scheduler, average, optimizer = parts["scheduler"], parts["average"], parts["optimizer"]
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    rng = random.Random(args.seed + start)
    progress = tqdm(range(start, args.steps), initial=start, total=args.steps, desc="UNet")
    for step in progress:
        set_learning_rate(optimizer, args.learning_rate * one_cycle(step, args.steps))
        index = torch.randint(len(latents), (sizes["batch"],))
        texts = [rng.choice(shapes.captions(scenes[i], rng.choice(("zh", "en")))) for i in index.tolist()]
        texts = ["" if rng.random() < CAPTION_DROPOUT else text for text in texts]
        loss = denoising_loss(unet, text_encoder, scheduler, latents[index], captions(texts, rng))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.update(step)
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.4f}")
        if (step + 1) % args.save_every == 0:
            save(step + 1)


def save_pipeline(folder, parts):
    """以 float16 的 safetensors 保存滑动平均后的权重。"""
    parts["average"].swap()
    pipeline = StableDiffusionPipeline(
        vae=parts["vae"],
        text_encoder=parts["text_encoder"],
        tokenizer=parts["tokenizer"],
        unet=parts["unet"],
        scheduler=parts["scheduler"],
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    pipeline.to(torch.float32)
    parts["average"].swap()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000, help="文本编码器与 UNet 的训练步数")
    parser.add_argument("--vae_steps", type=int, default=900)
    parser.add_argument("--decoder_steps", type=int, default=1000, help="微调解码器的步数")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--save_every", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--resume", action="store_true", help="从 output_dir 同级的 .state.pt 恢复训练")
    parser.add_argument("--tiny", action="store_true", help="使用最小的配置跑通全流程，仅用于检查")
    args = parser.parse_args()
    sizes = TINY if args.tiny else FULL
    if args.tiny:
        args.steps, args.vae_steps, args.decoder_steps, args.save_every = 4, 4, 2, 2

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    state_path = args.output_dir.with_name(args.output_dir.name + ".state.pt")
    state = torch.load(state_path, weights_only=True) if args.resume else None

    tokenizer = make_tokenizer(args.output_dir / "tokenizer")
    scenes, images = draw_images(sizes["images"], rng)

    vae = make_vae(sizes)
    if state is None:
        train_vae(vae, images, args.vae_steps, sizes["batch"])
    else:
        vae.load_state_dict(state["vae"])
    vae.eval().requires_grad_(False)
    latents = encode_all(vae, images)
    if state is None:
        finetune_decoder(vae, images, latents, args.decoder_steps, sizes["batch"] // 2)

    text_encoder, unet = make_text_encoder(sizes, tokenizer), make_unet(sizes)
    parts = {
        "vae": vae,
        "tokenizer": tokenizer,
        "captions": Captions(args.output_dir / "tokenizer"),
        "text_encoder": text_encoder,
        "unet": unet,
        "scheduler": make_scheduler(),
        "average": Average([unet, text_encoder]),
        "optimizer": torch.optim.AdamW([*unet.parameters(), *text_encoder.parameters()], weight_decay=1e-4),
    }
    start = 0
    if state is not None and "unet" in state:
        for name in ("unet", "text_encoder", "optimizer"):
            parts[name].load_state_dict(state[name])
        parts["average"].values, start = state["average"], state["step"]
    else:
        train_text_encoder(text_encoder, parts["captions"], sizes["text_steps"], 64, rng)
        parts["average"] = Average([unet, text_encoder])

    def save(step):
        kept = {name: parts[name].state_dict() for name in ("vae", "unet", "text_encoder", "optimizer")}
        torch.save({**kept, "average": parts["average"].values, "step": step}, state_path)
        save_pipeline(args.output_dir, parts)

    save(start)
    train_denoiser(parts, latents, scenes, args, sizes, start, save)
    save(args.steps)
    print(f"模型已保存到 {args.output_dir.resolve()}")


if __name__ == "__main__":
    main()
