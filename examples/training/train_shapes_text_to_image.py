"""从零训练一个很小的中英双语文生图模型（Stable Diffusion 的结构，一台普通 CPU 不到一小时）。

    python train_shapes_text_to_image.py --output_dir ./shapes-bilingual            # 完整训练
    python train_shapes_text_to_image.py --output_dir ./try --tiny                  # 一分钟内走一遍流程
    python train_shapes_text_to_image.py --output_dir ./shapes-bilingual --resume   # 接着上次继续

分四步：画图 -> 学分词表 -> 训练 VAE -> 一起训练文本编码器和 UNet。
结果是 diffusers 自己的目录格式（safetensors，float16），ppdiffusers 可以直接读。
需要：torch、diffusers==0.35.2、transformers==4.55.4、tqdm。
"""

import argparse
import copy
import json
import math
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import shapes
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

MAX_TOKENS = 32  # 最长的说明也不到 30 个词元；比 CLIP 的 77 短，训练快得多
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--work_dir", type=Path, help="检查点放在哪里，默认是 <output_dir>-work")
    parser.add_argument("--steps", type=int, default=3000, help="UNet 和文本编码器的训练步数")
    parser.add_argument("--vae_steps", type=int, default=1200)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--vae_batch_size", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=12000, help="预先画好并编码的图片数")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--save_every", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="从 work_dir 里的检查点继续")
    parser.add_argument("--tiny", action="store_true", help="极小的设置，只检查流程能走通")
    args = parser.parse_args()
    args.work_dir = args.work_dir or args.output_dir.with_name(args.output_dir.name + "-work")
    if args.tiny:
        args.steps, args.vae_steps, args.pictures = 4, 4, 64
        args.batch_size, args.vae_batch_size, args.save_every = 8, 4, 4
    return args


# ---- 第一步：数据 ----


def draw_pictures(scenes, rng):
    """场景 -> [-1, 1] 的图片张量。"""
    pictures = np.stack([shapes.draw(scene, rng) for scene in scenes])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def random_caption(scene, rng):
    """随机挑语言、说法和写法。

    不同的 CLIP 分词器对中文处理不同：装了 ftfy 的会把“，”变成“,”，没装的会把汉字一个个分开。
    训练时几种写法都见过，用哪一种分词器就都能画对。
    """
    text = rng.choice(shapes.captions(scene, rng.choice(["zh", "en"])))
    if rng.random() < 0.6:
        text = text.replace("，", ",")
    if rng.random() < 0.3:
        text = re.sub(r"([\u4e00-\u9fff])", r" \1 ", text)
    return text


# ---- 第二步：分词表 ----


def caption_words():
    """说明里的英文词和汉字，每个写成字节符号的元组；汉字要有词中和词尾两种形式。"""
    to_symbol = bytes_to_unicode()
    words = Counter()
    rng = random.Random(0)
    for scene in [shapes.random_scene(rng, shapes.combinations()) for _ in range(2000)]:
        for language in ("zh", "en"):
            for text in shapes.captions(scene, language):
                for word in re.findall(r"[a-z]+|[\u4e00-\u9fff]|[^\sa-z\u4e00-\u9fff]", text):
                    symbols = [to_symbol[b] for b in word.encode("utf-8")]
                    words[(*symbols[:-1], symbols[-1] + "</w>")] += 1
                    if not word.isascii():
                        words[tuple(symbols)] += 1
    return words


def merge_pair(symbols, pair):
    """把相邻的 pair 合成一个符号。"""
    merged, i = [], 0
    while i < len(symbols):
        if symbols[i : i + 2] == pair:
            merged.append(pair[0] + pair[1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return tuple(merged)


def learn_merges(words):
    """BPE：反复合并最常见的相邻符号，直到每个词都是一个符号。"""
    merges = []
    while True:
        pairs = Counter()
        for symbols, count in words.items():
            for pair in zip(symbols, symbols[1:], strict=False):
                pairs[pair] += count
        if not pairs:
            return merges
        best = max(pairs, key=lambda p: (pairs[p], p))  # 次数相同时按字典序，结果可重复
        merges.append(best)
        words = Counter({merge_pair(symbols, best): count for symbols, count in words.items()})


def make_tokenizer(folder):
    """写出 vocab.json 和 merges.txt，再由 transformers 补齐其余文件。"""
    merges = learn_merges(caption_words())
    letters = list(bytes_to_unicode().values())
    tokens = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges] + [BOS, EOS]
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2"] + [" ".join(m) for m in merges]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    CLIPTokenizerFast.from_pretrained(folder, model_max_length=MAX_TOKENS, pad_token=EOS).save_pretrained(folder)
    CLIPTokenizer.from_pretrained(folder, model_max_length=MAX_TOKENS, pad_token=EOS).save_pretrained(folder)
    return CLIPTokenizerFast.from_pretrained(folder)


def tokenize(tokenizer, texts):
    kwargs = {"padding": "max_length", "max_length": MAX_TOKENS, "truncation": True}
    return tokenizer(texts, return_tensors="pt", **kwargs).input_ids


# ---- 第三步：VAE ----


def make_vae(tiny):
    channels = (8, 8, 8) if tiny else (16, 32, 48)
    return AutoencoderKL(
        sample_size=shapes.SIZE,
        block_out_channels=channels,  # 三级，所以 64x64 的图变成 16x16 的潜变量
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
    )


def train_vae(vae, args):
    """L1 重建，加很小的 KL，让潜变量空间平滑。"""
    rng = random.Random(args.seed)
    combos = shapes.train_combinations()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = cosine_schedule(optimizer, args.vae_steps)
    vae.train()
    bar = tqdm(range(args.vae_steps), desc="VAE", mininterval=5)
    for _ in bar:
        pictures = draw_pictures([shapes.random_scene(rng, combos) for _ in range(args.vae_batch_size)], rng)
        posterior = vae.encode(pictures.contiguous(memory_format=torch.channels_last)).latent_dist
        rebuilt = vae.decode(posterior.sample()).sample
        loss_picture = F.l1_loss(rebuilt, pictures)
        loss = loss_picture + 5e-4 * posterior.kl().mean() / posterior.mean[0].numel()
        update(loss, optimizer, schedule, vae.parameters())
        bar.set_postfix(l1=f"{loss_picture.item():.4f}")
    vae.eval()


@torch.no_grad()
def encode_pictures(vae, scenes, rng):
    """先把所有图片变成潜变量，训练 UNet 时就用不到 VAE 了。"""
    latents = []
    for i in tqdm(range(0, len(scenes), 32), desc="编码图片", mininterval=5):
        pictures = draw_pictures(scenes[i : i + 32], rng)
        latents.append(vae.encode(pictures).latent_dist.mean)
    return torch.cat(latents)


# ---- 第四步：文本编码器和 UNet ----


def make_text_encoder(tokenizer, tiny):
    width, layers = (32, 1) if tiny else (128, 3)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=width * 4,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_unet(text_width, tiny):
    channels = (16, 16, 16) if tiny else (48, 96, 96)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=channels,
        # 16x16 那一级不做注意力：它最贵，而词和图形的对应在 8x8 就看得清
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,  # 沿用 SD 1 的叫法：其实是头数
        norm_num_groups=16,
    )


def make_scheduler():
    # beta_end 比 SD 的 0.012 大：最后一步几乎全是噪声，采样从纯噪声开始才不会偏灰
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.02,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def cosine_schedule(optimizer, steps):
    """先升温再按余弦降到零附近。"""
    warmup = max(1, min(100, steps // 10))

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def update(loss, optimizer, schedule, parameters):
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    schedule.step()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def update_average(average, model, step):
    """权重的滑动平均，画出来的图更稳。开头衰减小，免得记住随机的初值。"""
    decay = min(0.997, (1 + step) / (10 + step))
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)


def diffusion_loss(model, noise_scheduler, latents, ids):
    """预测噪声的均方误差，min-SNR（gamma=5）加权：少花力气在几乎无噪声的步上，收敛更快。"""
    noise = torch.randn_like(latents)
    t = torch.randint(0, noise_scheduler.config.num_train_timesteps, (len(latents),))
    noisy = noise_scheduler.add_noise(latents, noise, t).contiguous(memory_format=torch.channels_last)
    hidden = model["text_encoder"](ids).last_hidden_state
    predicted = model["unet"](noisy, t, encoder_hidden_states=hidden).sample
    alpha = noise_scheduler.alphas_cumprod[t]
    snr = alpha / (1 - alpha)
    weight = snr.clamp(max=5) / snr
    return (weight * (predicted - noise).pow(2).mean((1, 2, 3))).mean()


def train_diffusion(model, average, data, tokenizer, args, save):
    scenes, latents = data
    noise_scheduler = make_scheduler()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3)
    schedule = cosine_schedule(optimizer, args.steps)
    checkpoint = args.work_dir / "diffusion.pt"
    first = 0
    if args.resume and checkpoint.exists():
        state = torch.load(checkpoint)
        for part, name in ((model, "model"), (average, "average"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(state[name])
        first = state["step"]

    rng = random.Random(args.seed + first)
    torch.manual_seed(args.seed + 1 + first)
    model.train()
    bar = tqdm(range(first, args.steps), desc="UNet", initial=first, total=args.steps, mininterval=5)
    smooth = None
    for step in bar:
        chosen = rng.choices(range(len(scenes)), k=args.batch_size)
        # 一成的说明换成空字符串，无分类器引导要用
        texts = ["" if rng.random() < 0.1 else random_caption(scenes[i], rng) for i in chosen]
        loss = diffusion_loss(model, noise_scheduler, latents[chosen], tokenize(tokenizer, texts))
        update(loss, optimizer, schedule, model.parameters())
        update_average(average, model, step)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.4f}")
        if (step + 1) % args.save_every == 0 or step + 1 == args.steps:
            state = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}
            state = {name: part.state_dict() for name, part in state.items()}
            torch.save({**state, "step": step + 1}, checkpoint)
            save()


def save_pipeline(folder, vae, average, tokenizer_folder):
    """diffusers 的标准目录，float16。先写到旁边再换名，中断也不会留下半个目录。"""
    pipe = StableDiffusionPipeline(
        vae=copy.deepcopy(vae),
        text_encoder=copy.deepcopy(average["text_encoder"]),
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer_folder),
        unet=copy.deepcopy(average["unet"]),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.to(torch.float16)
    fresh = folder.with_name(folder.name + ".new")
    pipe.save_pretrained(fresh, safe_serialization=True)
    shutil.copy(tokenizer_folder / "tokenizer.json", fresh / "tokenizer")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work_dir.mkdir(parents=True, exist_ok=True)

    tokenizer_folder = args.work_dir / "tokenizer"
    tokenizer = make_tokenizer(tokenizer_folder)
    print(f"词表 {len(tokenizer)} 个词元")

    vae = make_vae(args.tiny).to(memory_format=torch.channels_last)
    vae_checkpoint = args.work_dir / "vae.pt"
    if args.resume and vae_checkpoint.exists():
        vae.load_state_dict(torch.load(vae_checkpoint))
        vae.eval()
    else:
        train_vae(vae, args)
        torch.save(vae.state_dict(), vae_checkpoint)

    rng = random.Random(args.seed + 1)
    combos = shapes.train_combinations()
    scenes = [shapes.random_scene(rng, combos) for _ in range(args.pictures)]
    latents = encode_pictures(vae, scenes, rng)
    # 扩散模型默认数据的标准差是 1
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    latents = (latents * vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)

    text_encoder = make_text_encoder(tokenizer, args.tiny)
    unet = make_unet(text_encoder.config.hidden_size, args.tiny).to(memory_format=torch.channels_last)
    model = torch.nn.ModuleDict({"text_encoder": text_encoder, "unet": unet})
    average = copy.deepcopy(model).eval().requires_grad_(False)
    count = sum(p.numel() for m in (vae, model) for p in m.parameters())
    print(f"参数 {count / 1e6:.2f} M，scaling_factor {vae.config.scaling_factor}")

    def save():
        save_pipeline(args.output_dir, vae, average, tokenizer_folder)

    train_diffusion(model, average, (scenes, latents), tokenizer, args, save)
    print(f"已保存到 {args.output_dir}")


if __name__ == "__main__":
    main()
