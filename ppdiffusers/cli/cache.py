"""`ppdiffusers cache ls|rm|verify`: downloaded models and compiled programs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers.cli.printing import columns, human_size, localized, printable
from ppdiffusers.core.errors import InputError, SourceError

if TYPE_CHECKING:
    from ppdiffusers.io.cached import CachedFolder
    from ppdiffusers.runtime.cache import Entry


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `cache` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser("cache", help="list, remove or verify cached models and compiled programs")
    actions = parser.add_subparsers(dest="cache_command", required=True, metavar="ls|rm|verify")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--cache_dir", type=Path, help="use the models in this folder; compiled programs are stored elsewhere"
    )
    selection = argparse.ArgumentParser(add_help=False)
    selection.add_argument("--source", help="only models from this hub")
    selection.add_argument("--revision", help="only models of this revision")

    ls = actions.add_parser("ls", parents=[shared], help="list cached models and programs with their sizes")
    ls.set_defaults(action=list_all)
    rm = actions.add_parser("rm", parents=[shared, selection], help="remove models or compiled programs")
    rm.add_argument("names", nargs="*", metavar="NAME", help="names that `cache ls` prints")
    rm.add_argument("--all", action="store_true", help="list all models and programs, ask, and remove them")
    rm.add_argument("--yes", action="store_true", help="with --all: do not ask (required if there is no terminal)")
    rm.set_defaults(action=remove)
    verify = actions.add_parser("verify", parents=[shared, selection], help="read all files and compare checksums")
    verify.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="models, programs, or folders written by `download --to` (default: all)",
    )
    verify.set_defaults(action=verify_all)


def list_all(arguments: argparse.Namespace) -> None:
    """Print one line for each model and program, and the total size."""
    _print_table(arguments, _models(arguments), _programs(arguments))


def _print_table(arguments: argparse.Namespace, models: list[CachedFolder], programs: list[Entry]) -> None:
    from ppdiffusers.io.snapshot import cache_root

    head = tuple(
        localized(*pair) for pair in (("Kind", "类型"), ("Name", "名称"), ("Size", "大小"), ("Details", "说明"))
    )
    rows = [(localized("model", "模型"), model.model, human_size(model.size), _details(model)) for model in models]
    rows += [(localized("program", "程序"), entry.name, human_size(entry.size), entry.about) for entry in programs]
    total = human_size(sum(model.size for model in models) + sum(entry.size for entry in programs))
    root = cache_root(arguments.cache_dir).parent
    if rows:
        print(columns([head, *rows], right=(2,)))
    print(localized(f"{len(rows)} entries, {total}, in {root}", f"共 {len(rows)} 项，{total}，位于 {root}"))


def remove(arguments: argparse.Namespace) -> int:
    """Remove the named or all models and programs; if a name is unknown, or the user does not agree, remove nothing.

    Raises:
        InputError: unknown names.
        SourceError: entries were kept, because a process uses them or they cannot be removed; all of them are listed.
    """
    from ppdiffusers.io.cached import remove_models
    from ppdiffusers.runtime.cache import remove_programs

    if bool(arguments.names) == arguments.all:
        raise InputError("Pass names or --all.", expected="names that `ppdiffusers cache ls` prints, or --all")
    models, programs = _models(arguments), _program_names(arguments)
    if not arguments.all:
        models, programs = _select(arguments.names, arguments, models, programs)
    else:
        listed = _all_programs(arguments)
        _print_table(arguments, models, listed)
        programs = [entry.name for entry in listed]
        if (models or programs) and not arguments.yes and not _user_agrees():
            print(localized("Nothing was removed.", "未删除任何内容。"))
            return 1
    removed, kept = remove_models(models)
    removed_programs, kept_programs = remove_programs(programs)
    size = human_size(sum(model.size for model in removed))
    print(
        localized(
            f"Removed {len(removed)} models ({size}), {len(removed_programs)} programs",
            f"已删除：{len(removed)} 个模型（{size}），{len(removed_programs)} 个程序",
        )
    )
    if kept or kept_programs:
        raise SourceError(
            f"{len(kept) + len(kept_programs)} entries were kept.",
            problems=[f"{name}: {reason}" for name, reason in {**kept, **kept_programs}.items()],
            remedy="run the command again when the processes that use them have ended, and check permissions.",
        )
    return 0


def _user_agrees() -> bool:
    """Ask on a terminal.

    Raises:
        InputError: there is no terminal.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError(
            "There is no terminal to ask on; nothing was removed.",
            expected="--yes",
            remedy="run `ppdiffusers cache rm --all --yes`, or remove single entries by name.",
        )
    try:
        answer = input(localized("Remove all of this? [y/N] ", "确定全部删除？[y/N] "))
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes", "是")


def verify_all(arguments: argparse.Namespace) -> None:
    """Read all or the named models and programs and compare their checksums.

    Raises:
        SourceError: entries are damaged; the message lists all of them.
    """
    from tqdm import tqdm

    from ppdiffusers.io.cached import size_of, verify_folder
    from ppdiffusers.io.download import progress_bars_enabled
    from ppdiffusers.runtime.cache import verify_programs

    folders = [Path(name) for name in arguments.names if os.path.isdir(name)]
    names = [name for name in arguments.names if not os.path.isdir(name)]
    models, programs = _models(arguments), _program_names(arguments)
    if arguments.names:
        models, programs = _select(names, arguments, models, programs)
    read = [(str(folder), folder) for folder in folders]
    named = {f"{model.model} ({model.hub} {model.revision})": model for model in models}
    damaged = {name: [model.problem] for name, model in named.items() if model.problem}
    read += [(name, model.folder) for name, model in named.items() if not model.problem]
    total = sum(size_of(folder) for _, folder in read)
    with tqdm(
        total=total, unit="B", unit_scale=True, disable=None if progress_bars_enabled() else True
    ) as bar:  # on terminals
        damaged |= {name: found for name, folder in read if (found := verify_folder(folder, bar.update))}
    damaged |= verify_programs(programs)
    for name in [*map(str, folders), *named, *programs]:
        print(
            f"{printable(name)}: {localized('damaged', '已损坏') if name in damaged else localized('intact', '完好')}"
        )
    if damaged:
        raise SourceError(
            f"{len(damaged)} entries are damaged.",
            problems=[f"{name}: {problem}" for name, found in damaged.items() for problem in found],
            remedy="download a model again with `ppdiffusers download NAME --force`; remove a program with "
            "`ppdiffusers cache rm NAME`, it is compiled again when it is needed.",
        )


def _models(arguments: argparse.Namespace) -> list[CachedFolder]:
    from ppdiffusers.io.cached import list_models
    from ppdiffusers.io.snapshot import cache_root

    return list_models(cache_root(arguments.cache_dir))


def _programs(arguments: argparse.Namespace) -> list[Entry]:
    from ppdiffusers.runtime.cache import list_programs

    return list_programs() if arguments.cache_dir is None else []


def _all_programs(arguments: argparse.Namespace) -> list[Entry]:
    """Return all programs, with damaged and unfinished ones."""
    from ppdiffusers.runtime.cache import Entry, list_unfinished, program_names

    if arguments.cache_dir is not None:
        return []
    listed = _programs(arguments)
    known = {entry.name for entry in listed}
    damaged = [Entry(name, "damaged", 0, 0.0) for name in program_names() if name not in known]
    return [*listed, *damaged, *list_unfinished()]


def _program_names(arguments: argparse.Namespace) -> list[str]:
    from ppdiffusers.runtime.cache import program_names

    return program_names() if arguments.cache_dir is None else []


def _select(
    names: list[str], arguments: argparse.Namespace, models: list[CachedFolder], programs: list[str]
) -> tuple[list[CachedFolder], list[str]]:
    """Return the named models, of the given hub and revision, and the named programs.

    Raises:
        InputError: names are not in the cache.
    """
    from ppdiffusers.io.cached import choose_models

    chosen = choose_models(models, names, arguments.source, arguments.revision)
    known = {model.model for model in chosen} | set(programs)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            "These names are not in the cache.", problems=unknown, remedy="list the cache with `ppdiffusers cache ls`."
        )
    return chosen, [name for name in programs if name in names]


def _details(model: CachedFolder) -> str:
    """Describe a model in one line: hub, revision, number of files, unfinished downloads, problems."""
    commit = f" {model.commit[:8]}" if model.commit else ""
    text = f"{model.hub} {model.revision}{commit}, " + localized(f"{model.files} files", f"{model.files} 个文件")
    if model.unfinished:
        size = human_size(model.unfinished)
        text += localized(f", {size} of unfinished files", f"，未下载完的文件 {size}")
    if model.problem:
        text += f" ({model.problem})"
    return text
