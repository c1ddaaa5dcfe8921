"""Find the local folder of a model by name or path: in a folder, in the cache, then on the hubs in order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ppdiffusers.core.addresses import shown_address
from ppdiffusers.core.environment import is_on
from ppdiffusers.core.errors import ConfigError, InputError, MissingDependencyError, SourceError
from ppdiffusers.core.files import absolute_path, expand_user, move_folder_over
from ppdiffusers.core.saving import complete_save
from ppdiffusers.io.download import fetch_files
from ppdiffusers.io.http_client import FetchError, HttpClient
from ppdiffusers.io.hubs import hubs_in_order
from ppdiffusers.io.hubs.base import Hub, HubModel, HubOptions, RemoteFile
from ppdiffusers.io.hubs.cached_models import CachedModel, huggingface_cache
from ppdiffusers.io.hubs.local import find_subfolder
from ppdiffusers.io.ignored_arguments import drop_ignored
from ppdiffusers.io.names import check_file_name, check_name, check_revision
from ppdiffusers.io.required_files import AllFiles, RequiredFiles
from ppdiffusers.io.snapshot import FORCED, Snapshot, cache_root, locked, snapshot_folder
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# Flags of other releases -> the hub that they choose.
_HUB_FLAGS = {"from_hf_hub": "hf", "from_aistudio": "aistudio", "from_modelscope": "modelscope"}
_OFFLINE = ("PPDIFFUSERS_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
# Errors about one hub, after which the next one is searched. An unsafe file name ends the search.
_FAILURES = (SourceError, ConfigError, MissingDependencyError)


def pop_hub_options(arguments: MutableMapping[str, Any]) -> HubOptions:
    """Remove the hub arguments from the arguments of a `from_pretrained`, and return them as options.

    `source="hf"` chooses one hub; `from_hf_hub=True`, `from_aistudio=True` and `from_modelscope=True` mean the same.
    `revision`, `cache_dir`, `force_download`, `resume_download`, `local_files_only`, `token` (or `use_auth_token`) and
    `proxies` work as in the original libraries. Arguments that have no effect here are removed, too.

    Raises:
        InputError: two different hubs are chosen.
    """
    drop_ignored(arguments)
    chosen = [hub for flag, hub in _HUB_FLAGS.items() if arguments.pop(flag, None)]
    named = arguments.pop("source", None)
    chosen = list(dict.fromkeys([hubs_in_order(name)[0].name for name in (*chosen, named) if name is not None]))
    if len(chosen) > 1:
        raise InputError("More than one source is chosen.", problems=chosen, expected="one of them")
    old_token = arguments.pop("use_auth_token", None)
    token = arguments.pop("token", None)
    cache_dir = arguments.pop("cache_dir", None)
    return HubOptions(
        source=chosen[0] if chosen else None,
        revision=arguments.pop("revision", None),
        cache_dir=None if cache_dir is None else expand_user(cache_dir),
        force_download=bool(arguments.pop("force_download", False)),
        resume_download=arguments.pop("resume_download", None) is not False,
        local_files_only=bool(arguments.pop("local_files_only", False)),
        token=old_token if token is None else token,
        proxies=arguments.pop("proxies", None),
    )


def resolve_folder(
    name_or_path: str | os.PathLike,
    subfolder: str | None = None,
    required: RequiredFiles | None = None,
    options: HubOptions | None = None,
) -> Path:
    """Return the local folder of a model; download the required files that are not in the cache.

    Args:
        name_or_path: a folder, or the name of a model on a hub.
        subfolder: a folder inside it, such as "unet".
        required: which files are required; by default everything that can be loaded.
        options: which hubs to search, and how.

    Raises:
        SourceError: the folder does not exist, and no hub has the model; the reason of each hub is listed.
        UnsafeFileError: the model names files outside its folder.
    """
    base = expand_user(name_or_path)
    complete_save(base)
    if base.is_dir():
        found = find_subfolder(base, subfolder)
        complete_save(found)
        return found
    _check_not_a_file(name_or_path, base)
    name, options = str(name_or_path), options or HubOptions()
    subfolder = None if subfolder is None else check_file_name(subfolder, name)
    found, _ = find_and_fetch(name, subfolder, required or AllFiles(), options)
    return find_subfolder(found, subfolder)


def find_and_fetch(
    name: str, subfolder: str | None, required: RequiredFiles, options: HubOptions, folder: Path | None = None
) -> tuple[Path, list[RemoteFile]]:
    """Download a model into the cache or `folder`; return the folder and the files.

    If the download from one hub fails, the next one is tried.

    Raises:
        FetchError: the download failed on every hub that has the model; the reasons of all hubs are listed.
        SourceError: no hub has the model; the reasons are listed in order.
    """
    failed: dict[str, FetchError] = {}
    while True:
        try:
            model, files = find_model(name, subfolder, required, options, tuple(failed))
        except SourceError as error:
            if not failed:
                raise
            first = next(iter(failed.values()))
            others = [_reason(hub, other) for hub, other in failed.items() if other is not first]
            problems = [*first.problems, *others, *error.problems]
            raise FetchError(first.what, where=first.where, problems=problems, remedy=first.remedy) from first
        try:
            cached = None if folder else model.local_folder(files)
            return cached or fetch_model(model, files, options, folder), files
        except FetchError as error:
            failed[model.hub] = error
            logger.warning(
                "downloading %s from %s failed: %s", name, model.hub, "; ".join(error.problems) or error.what
            )


def find_model(
    name: str, subfolder: str | None, required: RequiredFiles, options: HubOptions, skipped: Collection[str] = ()
) -> tuple[HubModel, list[RemoteFile]]:
    """Find the first hub that has the required files; return the opened model and these files.

    Only small files are downloaded.

    Args:
        skipped: hubs that are not searched.

    Raises:
        SourceError: no hub has the files; the reasons are listed in order.
    """
    check_name(name)
    if options.revision is not None:
        check_revision(options.revision)
    offline, folder = is_offline(options), subfolder or ""
    root, tried = cache_root(options.cache_dir), []
    hubs = [hub for hub in hubs_in_order(options.source) if hub.name not in skipped]
    candidates = [] if options.force_download and not offline else _cached(name, hubs, root, options, offline)
    for cached in candidates:
        try:
            return cached, required.select(cached, folder)
        except _FAILURES as error:
            tried.append(_reason(f"cache ({cached.where})", error))
    if not candidates:
        tried.append(f"cache ({root}): " + ("skipped: force_download" if options.force_download else "not found"))
    if offline:
        raise _not_found(name, [*tried, "hubs: skipped, because " + offline], options)
    client = HttpClient(options.proxies, offline)
    for hub in hubs:
        try:
            model = hub.open(client, name, _revision_for(hub, name, root, options), options.token)
            return model, required.select(model, folder)
        except _FAILURES as error:
            tried.append(_reason(f"{hub.title} ({shown_address(hub.endpoint)})", error))
            logger.info("%s", tried[-1])
    raise _not_found(name, tried, options)


def fetch_model(model: HubModel, files: Iterable[RemoteFile], options: HubOptions, folder: Path | None = None) -> Path:
    """Download files of a model into the cache, or into `folder`; return the folder.

    If two processes download the same model, the second waits for the first.

    Raises:
        FetchError: downloads failed, or checksums differ; all of these files are listed.
        SourceError: `folder` has other content, or the disk has too little space.
    """
    hub = hubs_in_order(model.hub)[0]
    revision = options.revision or hub.default_revision
    root = cache_root(options.cache_dir)
    target = absolute_path(folder) if folder else snapshot_folder(root, model.hub, model.model, revision)
    # no lock file next to a folder that the user chose
    lock_file = root / ".locks" / f"{hashlib.sha256(str(target).encode()).hexdigest()}.lock" if folder else None
    with locked(target, lock_file):
        if folder:
            _check_folder(target, model)
        # a forced download goes to another folder: the old one stays until the new one is complete
        place = target.with_name(f"{target.name}{FORCED}") if options.force_download else target
        snapshot = Snapshot.load(place) or Snapshot(place, model.hub, model.model, revision, model.commit)
        snapshot.hub, snapshot.commit = model.hub, model.commit or snapshot.commit
        files = list(files)
        snapshot.unfinished |= {file.path for file in files if not snapshot.has(file.path)}
        snapshot.save()  # the next run knows the folder, even if this one is killed
        client = model.client or HttpClient(options.proxies, is_offline(options))
        fetch_files(files, snapshot, client, resume=options.resume_download, progress=options.progress)
        snapshot.known_missing |= model.known_missing
        snapshot.save()
        if place != target:
            move_folder_over(place, target)
    return target


def _check_folder(folder: Path, model: HubModel) -> None:
    """Raise if the folder has other files, or another model."""
    snapshot = Snapshot.load(folder)
    if snapshot is None and folder.is_dir() and any(path.name[0] != "." for path in folder.iterdir()):
        raise SourceError(
            "The folder is not empty.", where=folder, remedy="choose a new folder, or one of an earlier download."
        )
    if snapshot is not None and snapshot.model != model.model:
        raise SourceError("The folder has another model.", where=folder, problems=[snapshot.model])


def is_offline(options: HubOptions | None = None) -> str | None:
    """Return why the network may not be used; None if it may."""
    if options is not None and options.local_files_only:
        return "local_files_only=True"
    for name in _OFFLINE:
        if is_on(name):
            return f"{name} is set"
    return None


def _cached(name: str, hubs: list[Hub], root: Path, options: HubOptions, offline: str | None) -> list[HubModel]:
    found: list[HubModel] = []
    for hub in hubs:
        snapshot = Snapshot.load(snapshot_folder(root, hub.name, name, options.revision or hub.default_revision))
        if snapshot is not None:
            found.append(CachedModel(snapshot, assume_missing=offline is not None))
    if offline and any(hub.name == "hf" for hub in hubs):
        other = huggingface_cache(name, options.revision or "main")
        found += [] if other is None else [other]
    return found


def _revision_for(hub: Hub, name: str, root: Path, options: HubOptions) -> str:
    """Return the revision to request: if part of the model is cached, its commit."""
    revision = options.revision or hub.default_revision
    if options.force_download:
        return revision
    snapshot = Snapshot.load(snapshot_folder(root, hub.name, name, revision))
    return snapshot.commit if snapshot is not None and snapshot.commit else revision


def _check_not_a_file(name_or_path: str | os.PathLike, base: Path) -> None:
    if base.is_file():
        raise SourceError(
            "This is a file, not a model folder.",
            where=base,
            expected="a folder with a configuration and weights, as written by save_pretrained or a download",
            remedy=f"pass the folder: {base.parent}",
        )
    if isinstance(name_or_path, os.PathLike):
        raise SourceError("The model folder does not exist.", where=base, remedy="check the path.")


def _reason(place: str, error: Exception) -> str:
    """Format the failure of one hub as a list item, with further lines indented."""
    problems = getattr(error, "problems", [])
    lines = [f"{place}: {getattr(error, 'what', error)}", *(f"    {line}" for p in problems for line in p.split("\n"))]
    return "\n".join(lines)


def _not_found(name: str, tried: list[str], options: HubOptions) -> SourceError:
    revision = f" of the revision {options.revision!r}" if options.revision else ""
    return SourceError(
        f"The model folder does not exist, and no hub has the model{revision}.",
        where=name,
        problems=tried,
        expected="a folder, or the name of a model on one of the hubs",
        remedy="check the name, `variant` and `revision`; choose a hub with source= or PPDIFFUSERS_SOURCES; "
        "`ppdiffusers doctor` checks which hubs respond.",
    )


def with_progress(options: HubOptions, progress: bool) -> HubOptions:
    """Return the options with the progress bar enabled or disabled."""
    return replace(options, progress=progress)
