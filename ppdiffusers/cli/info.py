"""`ppdiffusers info FILE`: what a file is, what it is made for, and what loads it."""

from __future__ import annotations

import argparse

from ppdiffusers.cli.printing import columns, human_size, localized

# Names of facts in Chinese.
_CHINESE = {
    "kind": "类型",
    "base model": "基础模型",
    "dtype": "精度",
    "tensors": "张量数",
    "parameters": "参数量",
    "size": "文件大小",
    "trigger words": "触发词",
    "format": "格式",
    "adapters": "适配器",
    "layers": "层数",
    "rank": "秩（rank）",
    "alpha": "alpha",
    "contains": "包含",
    "averaged weights": "EMA 权重",
    "vectors": "向量数",
    "width": "向量维度",
    "variant": "变体",
    "image encoder": "图像编码器",
    "supported": "是否支持",
    "first tensors": "前几个张量",
    "title": "标题",
    "architecture": "架构",
    "trained on": "训练用基础模型",
    "trained from": "训练起点",
    "prediction type": "预测类型",
    "resolution": "分辨率",
    "training images": "训练图像数",
    "epochs": "训练轮数",
    "steps": "训练步数",
    "author": "作者",
    "license": "许可证",
}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `info` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser(
        "info",
        help="show what a weights file or model folder is, and what loads it",
        description="Show the kind of a file (checkpoint, LoRA, textual inversion, VAE, ControlNet, IP-Adapter) or "
        "folder, its base model, dtypes, ranks, trigger words and training metadata, and the code that loads it. "
        "Weights are not read, and nothing in the file is run.",
    )
    parser.add_argument("path", metavar="FILE", help="weights file or model folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(action=info)


def info(arguments: argparse.Namespace) -> None:
    """Print the description."""
    import dataclasses
    import json

    from ppdiffusers.conversion.describe import describe_file

    found = describe_file(arguments.path)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False))
        return
    facts = {
        "kind": found.kind,
        "base model": found.base_model,
        "dtype": ", ".join(found.dtypes),
        "tensors": f"{found.tensors:,}" if found.tensors else "",
        "parameters": f"{found.parameters:,}" if found.parameters else "",
        "size": human_size(found.bytes),
        **found.details,
        "trigger words": ", ".join(found.trigger_words),
        **found.metadata,
    }
    print(columns([(localized(name, _CHINESE.get(name, name)), str(value)) for name, value in facts.items() if value]))
    if found.code:
        print(f"\n{found.code}")
