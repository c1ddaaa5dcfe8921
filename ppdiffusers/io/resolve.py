"""Name or path -> local folder: a folder, the cache, then the hubs in order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppdiffusers.core.environment import is_on
from ppdiffusers.core.errors import ConfigError, InputError, MissingDependencyError, SourceError
from ppdiffusers.core.files import move_folder_over
from ppdiffusers.io.download import fetch_files
from ppdiffusers.io.hubs import hubs_in_order
from ppdiffusers.io.hubs.base import Hub, OpenModel, RemoteFile, SourceOptions
from ppdiffusers.io.hubs.cache import CachedModel, other_cache
from ppdiffusers.io.hubs.local import subfolder_of
from ppdiffusers.io.names import check_file_name, check_name, check_revision
from ppdiffusers.io.required_files import NeedAll, Needs
from ppdiffusers.io.snapshot import Snapshot, cache_root, locked, snapshot_folder
from ppdiffusers.io.web import FetchError, Web
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# Flags of other releases -> the source they stand for.
_SOURCE_FLAGS = {"from_hf_hub": "hf", "from_aistudio": "aistudio", "from_modelscope": "modelscope"}
# Arguments of other releases that decide nothing here.
_IGNORED = ("from_diffusers", "mirror", "user_agent", "low_cpu_mem_usage", "device_map", "local_dir", "etag_timeout")
_OFFLINE = ("PPDIFFUSERS_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
# Errors that speak about one source, after which the next one is asked. An unsafe file name ends the search.
_FAILURES = (SourceError, ConfigError, MissingDependencyError)


def take_source_options(arguments: MutableMapping[str, Any]) -> SourceOptions:
    """Take out of the arguments of a `from_pretrained` those that say where a model comes from.

    `source="hf"` chooses one source; `from_hf_hub=True`, `from_aistudio=True` and `from_modelscope=True` mean the
    same. `revision`, `cache_dir`, `force_download`, `resume_download`, `local_files_only`, `token` (or
    `use_auth_token`), `proxies` are those of the original libraries. `from_diffusers` and others are not needed.

    Raises:
        InputError: two different sources are chosen.
    """
    for name in _IGNORED:
        arguments.pop(name, None)
    chosen = [source for flag, source in _SOURCE_FLAGS.items() if arguments.pop(flag, None)]
    named = arguments.pop("source", None)
    chosen = list(dict.fromkeys([hubs_in_order(name)[0].name for name in (*chosen, named) if name is not None]))
    if len(chosen) > 1:
        raise InputError("More than one source is chosen.", problems=chosen, expected="one of them")
    old_token = arguments.pop("use_auth_token", None)
    token = arguments.pop("token", None)
    cache_dir = arguments.pop("cache_dir", None)
    return SourceOptions(
        source=chosen[0] if chosen else None,
        revision=arguments.pop("revision", None),
        cache_dir=None if cache_dir is None else Path(cache_dir),
        force_download=bool(arguments.pop("force_download", False)),
        resume_download=arguments.pop("resume_download", None) is not False,
        local_files_only=bool(arguments.pop("local_files_only", False)),
        token=old_token if token is None else token,
        proxies=arguments.pop("proxies", None),
    )


def resolve_folder(
    name_or_path: str | os.PathLike,
    subfolder: str | None = None,
    needs: Needs | None = None,
    options: SourceOptions | None = None,
) -> Path:
    """The local folder of a model; what is missing of it is fetched.

    Args:
        name_or_path: a folder, or the name of a model on a hub.
        subfolder: a folder inside it, such as "unet".
        needs: which files are wanted; everything that can be loaded by default.
        options: where and how to look.

    Raises:
        SourceError: there is no such folder, and no source has the model; what was tried and why each failed is listed.
        UnsafeFileError: the model names files outside its folder.
    """
    base = Path(name_or_path).expanduser()
    if base.is_dir():
        return subfolder_of(base, subfolder)
    _refuse_paths(name_or_path, base)
    name, options = str(name_or_path), options or SourceOptions()
    subfolder = None if subfolder is None else check_file_name(subfolder, name)
    needs = needs or NeedAll()
    found, _ = find_and_fetch(name, subfolder, needs, options)
    return subfolder_of(found, subfolder)


def find_and_fetch(
    name: str, subfolder: str | None, needs: Needs, options: SourceOptions, folder: Path | None = None
) -> tuple[Path, list[RemoteFile]]:
    """The folder of a model, in the cache or `folder`, and its files. A source that does not deliver is passed over.

    Raises:
        FetchError: every source that has the model failed to deliver it; the others' reasons are listed too.
        SourceError: no source has it; what was tried, in order, and why each failed.
    """
    failed: dict[str, FetchError] = {}
    while True:
        try:
            model, files = find_model(name, subfolder, needs, options, tuple(failed))
        except SourceError as error:
            if not failed:
                raise
            first = next(iter(failed.values()))
            others = [_reason(source, other) for source, other in failed.items() if other is not first]
            problems = [*first.problems, *others, *error.problems]
            raise FetchError(first.what, where=first.where, problems=problems, remedy=first.remedy) from first
        try:
            there = None if folder else model.folder_of(files)
            return there or fetch_model(model, files, options, folder), files
        except FetchError as error:
            failed[model.source] = error
            logger.warning("%s does not deliver %s: %s", model.source, name, "; ".join(error.problems) or error.what)


def find_model(
    name: str, subfolder: str | None, needs: Needs, options: SourceOptions, passed_over: Collection[str] = ()
) -> tuple[OpenModel, list[RemoteFile]]:
    """Ask one source after the other: the first that has what is needed, and the files that are needed.

    Nothing but small files is fetched.

    Args:
        passed_over: sources that are not asked.

    Raises:
        SourceError: no source has it; what was tried, in order, and why each failed.
    """
    check_name(name)
    if options.revision is not None:
        check_revision(options.revision)
    offline, folder = is_offline(options), subfolder or ""
    root, tried = cache_root(options.cache_dir), []
    hubs = [hub for hub in hubs_in_order(options.source) if hub.name not in passed_over]
    candidates = [] if options.force_download and not offline else _cached(name, hubs, root, options, offline)
    for cached in candidates:
        try:
            return cached, needs.select(cached, folder)
        except _FAILURES as error:
            tried.append(_reason(f"cache ({cached.where})", error))
    if not candidates:
        tried.append(f"cache ({root}): " + ("passed over: force_download" if options.force_download else "not there"))
    if offline:
        raise _not_found(name, [*tried, "hubs: not asked, since " + offline], options)
    web = Web(options.proxies, offline)
    for hub in hubs:
        try:
            model = hub.open(web, name, _revision_for(hub, name, root, options), options.token)
            return model, needs.select(model, folder)
        except _FAILURES as error:
            tried.append(_reason(f"{hub.title} ({hub.endpoint})", error))
            logger.info("%s", tried[-1])
    raise _not_found(name, tried, options)


def fetch_model(
    model: OpenModel, files: Iterable[RemoteFile], options: SourceOptions, folder: Path | None = None
) -> Path:
    """Fetch files of a model into the cache, or into `folder`; gives the folder.

    Two processes that want the same model do not fetch it twice: the second waits for the first.

    Raises:
        FetchError: files could not be fetched, or are not what the source says; all of them are listed.
        SourceError: `folder` holds something else, or the disk is too full.
    """
    hub = hubs_in_order(model.source)[0]
    revision = options.revision or hub.default_revision
    root = cache_root(options.cache_dir)
    target = folder.expanduser().resolve() if folder else snapshot_folder(root, model.source, model.model, revision)
    # beside a folder of the user's own nothing is left behind
    lock_file = root / ".locks" / f"{hashlib.sha256(str(target).encode()).hexdigest()}.lock" if folder else None
    with locked(target, lock_file):
        if folder:
            _refuse_filled(target, model)
        # all anew: beside what is there, which stays until the new is whole
        place = target.with_name(f"{target.name}.new") if options.force_download else target
        snapshot = Snapshot.load(place) or Snapshot(place, model.source, model.model, revision, model.commit)
        snapshot.source, snapshot.commit = model.source, model.commit or snapshot.commit
        files = list(files)
        snapshot.unfinished |= {file.path for file in files if not snapshot.has(file.path)}
        snapshot.save()  # so that whatever comes of this run, the next one knows the folder
        web = model.web or Web(options.proxies, is_offline(options))
        fetch_files(files, snapshot, web, resume=options.resume_download, progress=options.progress)
        snapshot.absent |= model.asked_in_vain
        snapshot.save()
        if place != target:
            move_folder_over(place, target)
    return target


def _refuse_filled(folder: Path, model: OpenModel) -> None:
    """A folder with files of the user's, or with another model."""
    snapshot = Snapshot.load(folder)
    if snapshot is None and folder.is_dir() and any(path.name[0] != "." for path in folder.iterdir()):
        raise SourceError(
            "The folder is not empty.", where=folder, remedy="give a new folder, or one of an earlier download."
        )
    if snapshot is not None and snapshot.model != model.model:
        raise SourceError("The folder holds another model.", where=folder, problems=[snapshot.model])


def is_offline(options: SourceOptions | None = None) -> str | None:
    """Why no socket may be opened; None if sockets may be."""
    if options is not None and options.local_files_only:
        return "local_files_only=True"
    for name in _OFFLINE:
        if is_on(name):
            return f"{name} is set"
    return None


def _cached(name: str, hubs: list[Hub], root: Path, options: SourceOptions, offline: str | None) -> list[OpenModel]:
    found: list[OpenModel] = []
    for hub in hubs:
        snapshot = Snapshot.load(snapshot_folder(root, hub.name, name, options.revision or hub.default_revision))
        if snapshot is not None:
            found.append(CachedModel(snapshot, guess=offline is not None))
    if offline and any(hub.name == "hf" for hub in hubs):
        other = other_cache(name, options.revision or "main")
        found += [] if other is None else [other]
    return found


def _revision_for(hub: Hub, name: str, root: Path, options: SourceOptions) -> str:
    """What to ask a hub for: if a part of the model is cached, the rest of the same commit."""
    revision = options.revision or hub.default_revision
    if options.force_download:
        return revision
    snapshot = Snapshot.load(snapshot_folder(root, hub.name, name, revision))
    return snapshot.commit if snapshot is not None and snapshot.commit else revision


def _refuse_paths(name_or_path: str | os.PathLike, base: Path) -> None:
    if base.is_file():
        raise SourceError(
            "This is a file, not a model folder.",
            where=base,
            expected="a folder with a configuration and weights, as save_pretrained or a download writes it",
            remedy=f"give the folder: {base.parent}",
        )
    if isinstance(name_or_path, os.PathLike):
        raise SourceError("There is no such model folder.", where=base, remedy="check the path.")


def _reason(place: str, error: Exception) -> str:
    """One source's failure as a list item: further lines are indented under it."""
    problems = getattr(error, "problems", [])
    lines = [f"{place}: {getattr(error, 'what', error)}", *(f"    {line}" for p in problems for line in p.split("\n"))]
    return "\n".join(lines)


def _not_found(name: str, tried: list[str], options: SourceOptions) -> SourceError:
    revision = f" of the revision {options.revision!r}" if options.revision else ""
    return SourceError(
        f"There is no such model folder, and no source has the model{revision}.",
        where=name,
        problems=tried,
        expected="a folder, or the name of a model on one of the sources",
        remedy="check the name, `variant` and `revision`; choose a source with source= or PPDIFFUSERS_SOURCES; "
        "`ppdiffusers doctor` says which sources answer.",
    )


def with_progress(options: SourceOptions, progress: bool) -> SourceOptions:
    """The same options with the bar switched on or off."""
    return replace(options, progress=progress)
