"""Check the caches: location, size, and whether they are writable."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ppdiffusers.cli.diagnostics.section import Section
from ppdiffusers.cli.printing import human_size, localized
from ppdiffusers.io.cached import CachedFolder, list_models
from ppdiffusers.io.snapshot import cache_root
from ppdiffusers.runtime.cache import list_programs, size_limit

_LOW_DISK_SPACE = 5 * 10**9  # bytes: less than one Stable Diffusion model


def check_storage() -> Section:
    """Report cached models and compiled programs."""
    section = Section(localized("Cache", "缓存"))
    root = cache_root().parent
    section.facts.append((localized("Folder", "目录"), str(root)))
    models = list_models(cache_root())
    size = human_size(sum(model.size for model in models))
    section.facts.append(
        (localized("Models", "模型"), localized(f"{len(models)}, {size}", f"{len(models)} 个，{size}"))
    )
    programs = list_programs()
    size, limit = human_size(sum(entry.size for entry in programs)), human_size(size_limit())
    section.facts.append(
        (
            localized("Compiled programs", "编译后的程序"),
            localized(f"{len(programs)}, {size} of at most {limit}", f"{len(programs)} 个，{size}，上限 {limit}"),
        )
    )
    existing = _existing(root)
    free = shutil.disk_usage(existing).free
    section.facts.append((localized("Free disk space", "磁盘剩余空间"), human_size(free)))
    if os.path.lexists(root) and not os.path.isdir(root):
        section.problems.append(
            localized(
                f"The cache is not a folder: {root}. Remove it, or set PPDIFFUSERS_CACHE to a folder.",
                f"缓存路径不是目录：{root}。请删除它，或将 PPDIFFUSERS_CACHE 设为目录。",
            )
        )
    elif not os.access(existing, os.W_OK):
        section.problems.append(
            localized(
                f"The cache is not writable: {existing}. Set PPDIFFUSERS_CACHE to a writable folder.",
                f"缓存目录不可写：{existing}。请将 PPDIFFUSERS_CACHE 设为可写的目录。",
            )
        )
    if free < _LOW_DISK_SPACE:
        section.suggestions.append(
            localized(
                f"Only {human_size(free)} of disk space left: run `ppdiffusers cache rm`, or move PPDIFFUSERS_CACHE.",
                f"磁盘只剩 {human_size(free)}：可用 `ppdiffusers cache rm` 清理，或将 PPDIFFUSERS_CACHE 设到其他磁盘。",
            )
        )
    for model in models:
        _check_model(model, section)
    return section


def _check_model(model: CachedFolder, section: Section) -> None:
    if model.problem:
        section.problems.append(
            localized(
                f"{model.folder}: {model.problem} Remove it with `ppdiffusers cache rm {model.model}`.",
                f"{model.folder}：{model.problem} 可用 `ppdiffusers cache rm {model.model}` 删除。",
            )
        )
    elif model.unfinished:
        size = human_size(model.unfinished)
        section.suggestions.append(
            localized(
                f"{model.model} is incomplete ({size} downloaded): resume with `ppdiffusers download {model.model}`.",
                f"{model.model} 未下载完（已下载 {size}）：运行 `ppdiffusers download {model.model}` 可继续下载。",
            )
        )


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest existing parent."""
    return next(path for path in (folder, *Path(os.path.abspath(folder)).parents) if os.path.isdir(path))
