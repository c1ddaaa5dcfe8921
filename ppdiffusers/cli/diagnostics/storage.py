"""The caches: where they are, how large, whether they can be written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ppdiffusers.cli.diagnostics.section import Section
from ppdiffusers.cli.printing import human_size, say
from ppdiffusers.io.cached import CachedFolder, list_models
from ppdiffusers.io.snapshot import cache_root
from ppdiffusers.runtime.cache import list_programs, size_limit

_LITTLE_ROOM = 5 * 10**9  # bytes: less than one Stable Diffusion model


def check_storage() -> Section:
    """Models and compiled programs on the disk."""
    section = Section(say("Cache", "缓存"))
    root = cache_root().parent
    section.facts.append((say("folder", "目录"), str(root)))
    models = list_models(cache_root())
    size = human_size(sum(model.size for model in models))
    section.facts.append((say("models", "模型"), say(f"{len(models)}, {size}", f"{len(models)} 个，{size}")))
    programs = list_programs()
    size, limit = human_size(sum(entry.size for entry in programs)), human_size(size_limit())
    section.facts.append(
        (
            say("compiled programs", "编译程序"),
            say(f"{len(programs)}, {size} of at most {limit}", f"{len(programs)} 个，{size}，上限 {limit}"),
        )
    )
    existing = _existing(root)
    free = shutil.disk_usage(existing).free
    section.facts.append((say("free on that disk", "磁盘剩余"), human_size(free)))
    if not os.access(existing, os.W_OK):
        section.problems.append(
            say(
                f"The cache cannot be written: {existing}. Set PPDIFFUSERS_CACHE to a folder of yours.",
                f"缓存目录不可写：{existing}。请将 PPDIFFUSERS_CACHE 设为自己的目录。",
            )
        )
    if free < _LITTLE_ROOM:
        section.remarks.append(
            say(
                f"Only {human_size(free)} are free: `ppdiffusers cache rm`, or PPDIFFUSERS_CACHE on another disk.",
                f"磁盘只剩 {human_size(free)}：可用 `ppdiffusers cache rm` 清理，或将 PPDIFFUSERS_CACHE 设到其他磁盘。",
            )
        )
    for model in models:
        _check_model(model, section)
    return section


def _check_model(model: CachedFolder, section: Section) -> None:
    if model.problem:
        section.problems.append(
            say(
                f"{model.folder}: {model.problem} `ppdiffusers cache rm {model.model}` removes it.",
                f"{model.folder}：{model.problem} 可用 `ppdiffusers cache rm {model.model}` 删除。",
            )
        )
    elif model.unfinished:
        size = human_size(model.unfinished)
        section.remarks.append(
            say(
                f"{model.model} is not whole ({size} arrived): `ppdiffusers download {model.model}` goes on.",
                f"{model.model} 未下载完（已有 {size}）：`ppdiffusers download {model.model}` 可继续。",
            )
        )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
