"""`ppdiffusers download NAME`: fetch what a model needs into the cache or into a folder, or say what that would be."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers.cli.printing import columns, human_size, say

if TYPE_CHECKING:
    from ppdiffusers.io.hubs.base import HubModel, RemoteFile


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `download` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser(
        "download",
        help="fetch a model by its name, or show what would be fetched",
        description="Fetch the files that loading a model needs, and no others. An interrupted download goes on when "
        "the same is run again.",
    )
    parser.add_argument("name", metavar="NAME", help="name of a model, such as runwayml/stable-diffusion-v1-5")
    parser.add_argument("--plan", action="store_true", help="print every file with its size and address; fetch nothing")
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        help="make this folder instead of filling the cache: it loads on a machine without a network, and has a "
        "manifest and checksums (sha256sum -c SHA256SUMS)",
    )
    parser.add_argument("--source", help="the only source to ask: paddlenlp, hf, modelscope or aistudio")
    parser.add_argument("--revision", help="branch, tag or commit")
    parser.add_argument("--variant", help="weights of this variant, such as fp16")
    parser.add_argument("--subfolder", help="only this part of the model, such as unet")
    parser.add_argument("--token", help="of the source, for private models")
    parser.add_argument("--cache_dir", type=Path, help="instead of PPDIFFUSERS_CACHE or ~/.cache/ppdiffusers")
    parser.add_argument("--force", action="store_true", help="fetch again what is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bar; print the folder and nothing else")
    interrupted = say(
        "interrupted: what has arrived stays; run the same again to go on.",
        "已中断：已下载的部分会保留；再次运行同一命令即可继续。",
    )
    parser.set_defaults(action=download, interrupted=interrupted)


def download(arguments: argparse.Namespace) -> None:
    """Fetch as the arguments say and print where the model lies, or print the plan."""
    from ppdiffusers.io.hubs.base import HubOptions
    from ppdiffusers.io.required_files import AllFiles
    from ppdiffusers.io.resolve import find_and_fetch, find_model, is_offline

    options = HubOptions(
        source=arguments.source,
        revision=arguments.revision,
        cache_dir=arguments.cache_dir,
        force_download=arguments.force,
        token=arguments.token,
        progress=False if arguments.quiet else None,
    )
    wanted = (arguments.name, arguments.subfolder, AllFiles(arguments.variant), options)
    if arguments.plan:
        print(_plan(*find_model(*wanted)))
        return
    folder, files = find_and_fetch(*wanted, arguments.to)
    if arguments.quiet:
        print(folder)
        return
    total = human_size(sum((folder / file.path).stat().st_size for file in files))
    print(say(f"{len(files)} files, {total}: {folder}", f"{len(files)} 个文件，共 {total}：{folder}"))
    if is_offline(options):
        print(say("offline: taken from the cache", "离线：取自缓存"))


def _plan(model: HubModel, files: Sequence[RemoteFile]) -> str:
    """Every file with size and address, and the sum."""
    head = (say("bytes", "字节"), say("file", "文件"), say("address", "地址"))
    rows = [("?" if file.size is None else f"{file.size:,}", file.path, file.url) for file in files]
    sizes = [file.size for file in files if file.size is not None]
    unknown = len(files) - len(sizes)
    total = human_size(sum(sizes)) + (
        say(f" and {unknown} of unknown size", f"，另有 {unknown} 个大小未知") if unknown else ""
    )
    return "\n".join(
        [
            columns([head, *rows], right=(0,)),
            say(
                f"{len(files)} files, {total}, from {model.hub} ({model.where})",
                f"{len(files)} 个文件，共 {total}，来自 {model.hub}（{model.where}）",
            ),
        ]
    )
