"""`ppdiffusers cache ls|rm|verify`: the models that were fetched and the programs that were compiled."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ppdiffusers.cli.printing import columns, human_size, say
from ppdiffusers.core.errors import InputError, SourceError

if TYPE_CHECKING:
    from ppdiffusers.io.cached import CachedFolder
    from ppdiffusers.runtime.cache import Entry


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `cache` to the subcommands of `ppdiffusers`."""
    parser = commands.add_parser("cache", help="list, remove or check what is cached")
    actions = parser.add_subparsers(dest="cache_command", required=True, metavar="ls|rm|verify")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--cache_dir", type=Path, help="the models in this folder; programs are never in it")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--source", help="only models from this source")
    chosen.add_argument("--revision", help="only this revision")

    ls = actions.add_parser("ls", parents=[shared], help="what is cached, and how large it is")
    ls.set_defaults(action=list_all)
    rm = actions.add_parser("rm", parents=[shared, chosen], help="remove models or compiled programs")
    rm.add_argument("names", nargs="*", metavar="NAME", help="as `cache ls` shows them")
    rm.add_argument("--all", action="store_true", help="remove everything")
    rm.set_defaults(action=remove)
    verify = actions.add_parser("verify", parents=[shared, chosen], help="read every byte again and compare checksums")
    verify.add_argument(
        "names", nargs="*", metavar="NAME", help="models, programs, or folders of `download --to` (default: all)"
    )
    verify.set_defaults(action=verify_all)


def list_all(arguments: argparse.Namespace) -> None:
    """Print a line for each model and each program, and the sum."""
    from ppdiffusers.io.snapshot import cache_root

    models, programs = _models(arguments), _programs(arguments)
    head = tuple(say(*pair) for pair in (("kind", "种类"), ("name", "名称"), ("size", "大小"), ("about", "说明")))
    rows = [(say("model", "模型"), model.model, human_size(model.size), _about(model)) for model in models]
    rows += [(say("program", "程序"), entry.name, human_size(entry.size), entry.about) for entry in programs]
    total = human_size(sum(model.size for model in models) + sum(entry.size for entry in programs))
    root = cache_root(arguments.cache_dir).parent
    if rows:
        print(columns([head, *rows], right=(2,)))
    print(say(f"{len(rows)} entries, {total}, in {root}", f"共 {len(rows)} 项，{total}，位于 {root}"))


def remove(arguments: argparse.Namespace) -> None:
    """Remove what is named; nothing if a name is not there."""
    from ppdiffusers.io.cached import remove_models
    from ppdiffusers.runtime.cache import remove_programs

    if bool(arguments.names) == arguments.all:
        raise InputError("What is to be removed?", expected="names as `ppdiffusers cache ls` shows them, or --all")
    models, programs = _models(arguments), _program_names(arguments)
    if not arguments.all:
        models, programs = _chosen(arguments.names, arguments, models, programs)
    remove_models(models)
    # None: what interrupted processes left behind, too
    removed = remove_programs(None if arguments.all and arguments.cache_dir is None else programs)
    size = human_size(sum(model.size for model in models))
    print(
        say(
            f"removed: {len(models)} models ({size}), {len(removed)} programs",
            f"已删除：{len(models)} 个模型（{size}），{len(removed)} 个程序",
        )
    )


def verify_all(arguments: argparse.Namespace) -> None:
    """Read everything, or what is named, again.

    Raises:
        SourceError: something is damaged; all of it is listed.
    """
    from tqdm import tqdm

    from ppdiffusers.io.cached import size_of, verify_folder
    from ppdiffusers.io.download import progress_bars_enabled
    from ppdiffusers.runtime.cache import verify_programs

    folders = [Path(name) for name in arguments.names if Path(name).is_dir()]
    names = [name for name in arguments.names if not Path(name).is_dir()]
    models, programs = _models(arguments), _program_names(arguments)
    if arguments.names:
        models, programs = _chosen(names, arguments, models, programs)
    read = [(str(folder), folder) for folder in folders]
    read += [(f"{model.model} ({model.hub} {model.revision})", model.folder) for model in models]
    total = sum(size_of(folder) for _, folder in read)
    with tqdm(
        total=total, unit="B", unit_scale=True, disable=None if progress_bars_enabled() else True
    ) as bar:  # on terminals
        damaged = {name: found for name, folder in read if (found := verify_folder(folder, bar.update))}
    damaged |= verify_programs(programs)
    for name in [*(name for name, _ in read), *programs]:
        print(f"{name}: {say('damaged', '已损坏') if name in damaged else say('whole', '完好')}")
    if damaged:
        raise SourceError(
            f"{len(damaged)} entries are damaged.",
            problems=[f"{name}: {problem}" for name, found in damaged.items() for problem in found],
            remedy="`ppdiffusers download NAME --force` fetches a model again; `ppdiffusers cache rm NAME` removes a "
            "program, which is made again when it is needed.",
        )


def _models(arguments: argparse.Namespace) -> list[CachedFolder]:
    from ppdiffusers.io.cached import list_models
    from ppdiffusers.io.snapshot import cache_root

    return list_models(cache_root(arguments.cache_dir))


def _programs(arguments: argparse.Namespace) -> list[Entry]:
    from ppdiffusers.runtime.cache import list_programs

    return list_programs() if arguments.cache_dir is None else []


def _program_names(arguments: argparse.Namespace) -> list[str]:
    from ppdiffusers.runtime.cache import program_names

    return program_names() if arguments.cache_dir is None else []


def _chosen(
    names: list[str], arguments: argparse.Namespace, models: list[CachedFolder], programs: list[str]
) -> tuple[list[CachedFolder], list[str]]:
    """The models and programs of these names; of the models, those of the source and revision that are asked for.

    Raises:
        InputError: names that are not there.
    """
    from ppdiffusers.io.cached import choose_models

    chosen = choose_models(models, names, arguments.source, arguments.revision)
    known = {model.model for model in chosen} | set(programs)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            "These are not in the cache.", problems=unknown, remedy="`ppdiffusers cache ls` shows what there is."
        )
    return chosen, [name for name in programs if name in names]


def _about(model: CachedFolder) -> str:
    """One line about a model: where it is from, how many files, what is unfinished or wrong."""
    commit = f" {model.commit[:8]}" if model.commit else ""
    text = f"{model.hub} {model.revision}{commit}, " + say(f"{model.files} files", f"{model.files} 个文件")
    if model.unfinished:
        size = human_size(model.unfinished)
        text += say(f", {size} of unfinished files", f"，未完成 {size}")
    if model.problem:
        text += f" ({model.problem})"
    return text
