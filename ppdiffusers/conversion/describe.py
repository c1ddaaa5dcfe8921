"""What a file or folder of weights is, and what loads it, from names, shapes and metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ppdiffusers import registry
from ppdiffusers.conversion.plan import entry_of_component
from ppdiffusers.convert.checkpoints.base import strip_prefix
from ppdiffusers.convert.ip_adapter_info import IPAdapterInfo, describe_ip_adapter
from ppdiffusers.convert.lora_info import LoraInfo, describe_lora
from ppdiffusers.convert.model_index import INDEX_NAME, parse_model_index
from ppdiffusers.convert.single_files.layouts import find_layout, has_averages
from ppdiffusers.convert.single_files.published import Family
from ppdiffusers.convert.single_files.recognition import is_playground, recognise
from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.files import expand_user
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.weight_names import is_weights_file
from ppdiffusers.io.weights import Checkpoint, open_weights

Tensors = Mapping[str, LazyTensor]

# Width of the prompt embeddings -> base model.
_WIDTHS = {
    768: "Stable Diffusion 1",
    1024: "Stable Diffusion 2",
    1280: "Stable Diffusion XL refiner",
    2048: "Stable Diffusion XL",
}
_PIPELINES = {2048: "StableDiffusionXLPipeline"}
_NETWORKS = {
    "UNet2DConditionModel": "UNet",
    "AutoencoderKL": "VAE",
    "CLIPTextModel": "text encoder",
    "CLIPTextModelWithProjection": "second text encoder",
}
# Keys of the metadata that training tools write -> our name of the detail.
_METADATA = {
    "modelspec.title": "title",
    "ss_output_name": "title",
    "modelspec.architecture": "architecture",
    "ss_base_model_version": "trained on",
    "ss_sd_model_name": "trained from",
    "modelspec.prediction_type": "prediction type",
    "modelspec.resolution": "resolution",
    "ss_resolution": "resolution",
    "ss_num_train_images": "training images",
    "ss_num_epochs": "epochs",
    "ss_steps": "steps",
    "modelspec.author": "author",
    "modelspec.license": "license",
}
_LONGEST = 200  # characters of a value from a file
_TAGS = 10


@dataclass(frozen=True)
class FileDescription:
    """What a file or folder is.

    Attributes:
        path: the file or folder.
        kind: "checkpoint", "UNet", "VAE", "ControlNet", "LoRA", "textual inversion", "IP-Adapter", "pipeline folder",
            "component folder", or "unknown".
        base_model: the model that it is, or for which it is made; None if the file does not show it.
        dtypes: dtypes of its tensors, the most frequent first.
        tensors, parameters: their number, and that of their elements.
        bytes: size on disk.
        details: what only this kind has, such as ranks and alphas.
        trigger_words: words that prompts need, and the most frequent ones in training.
        metadata: what the training tool wrote.
        code: Python code that loads it.
    """

    path: str
    kind: str
    base_model: str | None = None
    dtypes: tuple[str, ...] = ()
    tensors: int = 0
    parameters: int = 0
    bytes: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    trigger_words: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    code: str = ""


def describe_file(path: str | os.PathLike) -> FileDescription:
    """Describe a weights file or a model folder. Only headers are read, no weights.

    Raises:
        SourceError: the path does not exist, or is neither weights nor a model folder.
        WeightsError: the file is damaged.
        UnsafeFileError: a pickle names code to run; nothing was run.
    """
    place = expand_user(path)
    if place.is_dir():
        return _folder(place)
    if not place.is_file():
        raise SourceError("The file does not exist.", where=place, remedy="check the path.")
    checkpoint = open_weights(place, nested=True)
    tensors = strip_prefix(checkpoint, "state_dict.") or dict(checkpoint)
    found = _weights(place, checkpoint, tensors)
    counts: dict[str, int] = {}
    for tensor in tensors.values():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.size
    return replace(
        found,
        dtypes=tuple(sorted(counts, key=lambda dtype: -counts[dtype])),
        tensors=len(tensors),
        parameters=sum(counts.values()),
        bytes=place.stat().st_size,
        trigger_words=(*found.trigger_words, *_trigger_words(checkpoint.metadata)),
        metadata=_metadata(checkpoint.metadata),
    )


# -- kinds ------------------------------------------------------------------------------------------------------------


def _weights(path: Path, checkpoint: Checkpoint, tensors: Tensors) -> FileDescription:
    unknown = FileDescription(str(path), "unknown", details={"first tensors": ", ".join(map(plain, [*tensors][:5]))})
    if checkpoint.framework == "paddle":
        return replace(unknown, details={"format": "one network in Paddle's layout; load its folder"})
    found = _embedding(path, tensors)
    if found is not None:
        return found
    adapter = describe_ip_adapter(tensors)
    if adapter is not None:
        return _ip_adapter(path, adapter)
    if "lora_controlnet" in tensors:
        return replace(unknown, kind="Control-LoRA", details={"supported": "no"})
    lora = describe_lora(tensors, checkpoint.metadata)
    if lora is not None:
        return _lora(path, lora, checkpoint.metadata)
    family = recognise(tensors, checkpoint.metadata)
    return unknown if family is None else _single_file(path, family, tensors)


def _embedding(path: Path, tensors: Tensors) -> FileDescription | None:
    vectors = tensors.get("string_to_param.*", tensors.get("emb_params"))
    if {"clip_l", "clip_g"} <= tensors.keys():
        vectors, width = tensors["clip_l"], 2048
    elif vectors is None and len(tensors) == 1:
        vectors, width = next(iter(tensors.values())), 0
    else:
        width = 0
    if vectors is None or len(vectors.shape) not in (1, 2):
        return None
    width = width or vectors.shape[-1]
    count = vectors.shape[0] if len(vectors.shape) == 2 else 1
    named = [plain(name) for name in tensors if name not in ("string_to_param.*", "emb_params", "clip_l", "clip_g")]
    token = named[0] if len(tensors) == 1 and named else plain(path.stem)
    return FileDescription(
        str(path),
        "textual inversion",
        _WIDTHS.get(width),
        details={"vectors": count, "width": vectors.shape[-1]},
        trigger_words=(token,),
        code=_on_pipeline(width, f"load_textual_inversion({_quoted(path)}, token={token!r})"),
    )


def _ip_adapter(path: Path, info: IPAdapterInfo) -> FileDescription:
    call = f"load_ip_adapter({_quoted(path.parent)}, subfolder=None, weight_name={path.name!r}"
    if info.channels is None:
        encoder = "none: pass embeddings of faces (InsightFace) as `ip_adapter_image_embeds`"
        code = _on_pipeline(info.cross_attention_dim, f"{call}, image_encoder_folder=None)")
    elif info.encoder is None:
        encoder = f"one with {info.channels} channels"
        code = _on_pipeline(info.cross_attention_dim, f"{call})", "IMAGE_ENCODER")
    else:
        encoder = info.encoder.name
        folder = f"{info.encoder.repository!r}, subfolder={info.encoder.subfolder!r}"
        code = _on_pipeline(info.cross_attention_dim, f"{call})", folder)
    details = {"variant": info.variant, "image encoder": encoder}
    if info.variant == "unknown":
        details, code = {"supported": "no"}, ""
    return FileDescription(str(path), "IP-Adapter", _WIDTHS.get(info.cross_attention_dim), details=details, code=code)


def _lora(path: Path, info: LoraInfo, metadata: Mapping[str, str]) -> FileDescription:
    details = {
        "format": info.format,
        "adapters": ", ".join(info.kinds),
        "layers": ", ".join(f"{name}: {count}" for name, count in info.components.items()),
        "rank": _numbers(info.ranks),
        "alpha": _numbers(info.alphas) or "equal to the rank",
    }
    is_xl = info.cross_attention_dim == 2048 or "text_encoder_2" in info.components
    base = _WIDTHS.get(info.cross_attention_dim) or (_WIDTHS[2048] if is_xl else None)
    if base is None and metadata.get("ss_base_model_version"):
        base = plain(metadata["ss_base_model_version"])
    code = _on_pipeline(2048 if is_xl else 0, f"load_lora_weights({_quoted(path)})")
    return FileDescription(str(path), "LoRA", base, details={k: v for k, v in details.items() if v}, code=code)


def _single_file(path: Path, family: Family, tensors: Tensors) -> FileDescription:
    parts = [title for class_name, title in _NETWORKS.items() if find_layout(class_name, tensors) is not None]
    details: dict[str, Any] = {"contains": ", ".join(parts)}
    if is_playground(tensors):
        return FileDescription(str(path), "checkpoint", "Playground v2.5", details={**details, "supported": "no"})
    if has_averages(tensors):
        details["averaged weights"] = "yes: `extract_ema=True` loads them"
    if family.pipeline and len(parts) > 1:
        return FileDescription(
            str(path), "checkpoint", family.title, details=details, code=_load(family.pipeline, path)
        )
    if family.pipeline:
        code = _load("UNet2DConditionModel", path)
        return FileDescription(str(path), "UNet", family.title, details=details, code=code)
    ((class_name, _),) = family.components.values()
    kind = "VAE" if class_name == "AutoencoderKL" else "ControlNet"
    return FileDescription(str(path), kind, family.title, details={}, code=_load(class_name, path))


def _folder(path: Path) -> FileDescription:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    if (path / INDEX_NAME).is_file():
        index = parse_model_index(path / INDEX_NAME)
        details = {name: part.class_name for name, part in index.components.items() if part.class_name}
        entry = registry.find(index.pipeline)
        code = "" if entry is None else _load(index.pipeline, path, "from_pretrained")
        return FileDescription(str(path), "pipeline folder", index.pipeline, bytes=size, details=details, code=code)
    try:
        entry = entry_of_component(path)
    except SourceError:
        files = sorted(file.name for file in path.iterdir() if is_weights_file(file.name))
        raise SourceError(
            "The folder is neither a pipeline nor a component.",
            where=path,
            problems=[f"it has the weights file {name}" for name in files[:10]],
            remedy="pass one of its files." if files else "check the path.",
        ) from None
    library = "ppdiffusers.transformers" if entry.library == "transformers" else "ppdiffusers"
    code = _load(entry.name, path, "from_pretrained", library)
    return FileDescription(str(path), "component folder", entry.name, bytes=size, code=code)


# -- code -------------------------------------------------------------------------------------------------------------


def _quoted(path: Path) -> str:
    return repr(str(path))


def _load(class_name: str, path: Path, method: str = "from_single_file", library: str = "ppdiffusers") -> str:
    return f"from {library} import {class_name}\n\nmodel = {class_name}.{method}({_quoted(path)})"


def _on_pipeline(width: int, call: str, image_encoder: str = "") -> str:
    pipeline = _PIPELINES.get(width, "StableDiffusionPipeline")
    lines, arguments = [f"from ppdiffusers import {pipeline}", ""], "CHECKPOINT"
    if image_encoder:
        class_name = "CLIPVisionModelWithProjection"
        lines.insert(1, f"from ppdiffusers.transformers import {class_name}")
        lines.append(f"image_encoder = {class_name}.from_pretrained({image_encoder})")
        arguments += ", image_encoder=image_encoder"
    return "\n".join([*lines, f"pipe = {pipeline}.from_single_file({arguments})", f"pipe.{call}"])


# -- metadata ---------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Return one short line of printable characters; files may contain anything, such as codes of a terminal."""
    line = "".join(character if character.isprintable() else " " for character in str(text)[: 2 * _LONGEST])
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "..."


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, name in _METADATA.items():
        if metadata.get(key) and metadata[key] != "None":
            found.setdefault(name, plain(metadata[key]))
    return found


def _trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the trigger phrase, or the most frequent tags of the training images."""
    phrase = metadata.get("modelspec.trigger_phrase")
    if phrase:
        return (plain(phrase),)
    counts: dict[str, int] = {}
    for tags in _parsed(metadata.get("ss_tag_frequency")).values():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if type(count) is int:
                counts[tag.strip()] = counts.get(tag.strip(), 0) + count
    return tuple(plain(tag) for tag in sorted(counts, key=lambda tag: (-counts[tag], tag))[:_TAGS])


def _parsed(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):  # of a damaged or a hostile file: it only describes the training
        return {}
    return value if isinstance(value, dict) else {}
