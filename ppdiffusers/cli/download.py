"""`ppdiffusers download NAME`: download the files of a model to the cache or a folder, or print the plan."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers.cli.printing import columns, human_size, localized
from ppdiffusers.core.addresses import shown_address

if TYPE_CHECKING:
    from ppdiffusers.io.hubs.base import HubModel, RemoteFile


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `download` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser(
        "download",
        help="download a model by its name, or print what would be downloaded",
        description="Download only the files that loading the model requires. Run the same command again to resume an "
        "interrupted download.",
    )
    parser.add_argument("name", metavar="NAME", help="name of a model, such as runwayml/stable-diffusion-v1-5")
    parser.add_argument("--plan", action="store_true", help="print every file with its size and URL; download nothing")
    parser.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        help="write to this folder instead of the cache: it loads on machines without a network, and contains a "
        "manifest and checksums (sha256sum -c SHA256SUMS)",
    )
    parser.add_argument("--source", help="use only this hub: paddlenlp, hf, modelscope or aistudio")
    parser.add_argument("--revision", help="branch, tag or commit")
    parser.add_argument("--variant", help="download the weights of this variant, such as fp16")
    parser.add_argument("--subfolder", help="only this subfolder of the model, such as unet")
    parser.add_argument("--token", help="access token of the hub, for private models")
    parser.add_argument(
        "--cache_dir", type=Path, help="cache folder (default: PPDIFFUSERS_CACHE or ~/.cache/ppdiffusers)"
    )
    parser.add_argument("--force", action="store_true", help="download files again that are in the cache")
    parser.add_argument("--quiet", action="store_true", help="no progress bar; print only the folder")
    interrupted = localized(
        "Interrupted; downloaded data is kept. Run the same command again to resume.",
        "已中断，已下载的部分会保留；再次运行同一命令即可继续下载。",
    )
    parser.set_defaults(action=download, interrupted=interrupted)


def download(arguments: argparse.Namespace) -> None:
    """Download a model and print its folder, or print the plan."""
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
    print(localized(f"{len(files)} files, {total}: {folder}", f"{len(files)} 个文件，共 {total}：{folder}"))
    if is_offline(options):
        print(localized("Offline: loaded from the cache", "离线：从缓存加载"))


def _plan(model: HubModel, files: Sequence[RemoteFile]) -> str:
    """Format every file with its size and URL, and the total."""
    head = (localized("Bytes", "字节"), localized("File", "文件"), localized("URL", "地址"))
    rows = [("?" if file.size is None else f"{file.size:,}", file.path, shown_address(file.url)) for file in files]
    sizes = [file.size for file in files if file.size is not None]
    unknown = len(files) - len(sizes)
    total = human_size(sum(sizes)) + (
        localized(f" and {unknown} of unknown size", f"，另有 {unknown} 个大小未知") if unknown else ""
    )
    return "\n".join(
        [
            columns([head, *rows], right=(0,)),
            localized(
                f"{len(files)} files, {total}, from {model.hub} ({model.where})",
                f"{len(files)} 个文件，共 {total}，来自 {model.hub}（{model.where}）",
            ),
        ]
    )
