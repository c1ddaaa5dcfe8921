"""`model_index.json`: which class of which library each component of a pipeline is, in both worlds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import ConfigError, UnsafeFileError

INDEX_NAME = "model_index.json"
DIFFUSERS_VERSION = "0.35.2"  # the release whose files we write

# Original library -> the classes we have, under their original names. One name per class; `=` gives another spelling.
_DIFFUSERS = """
    Transformer2DModel UNet1DModel UNet2DModel UNet2DConditionModel AutoencoderKL VQModel
    DDPMScheduler DDIMScheduler PNDMScheduler LMSDiscreteScheduler EulerDiscreteScheduler
    EulerAncestralDiscreteScheduler DPMSolverMultistepScheduler UniPCMultistepScheduler
    DDIMInverseScheduler DPMSolverMultistepInverseScheduler DPMSolverSinglestepScheduler DPMSolverSDEScheduler
    DEISMultistepScheduler HeunDiscreteScheduler KDPM2DiscreteScheduler KDPM2AncestralDiscreteScheduler
    IPNDMScheduler LCMScheduler TCDScheduler EDMEulerScheduler EDMDPMSolverMultistepScheduler SASolverScheduler
    FlowMatchEulerDiscreteScheduler FlowMatchHeunDiscreteScheduler CMStochasticIterativeScheduler
    KarrasVeScheduler ScoreSdeVeScheduler ScoreSdeVpScheduler RePaintScheduler VQDiffusionScheduler UnCLIPScheduler
"""
_TRANSFORMERS = """
    BertTokenizer BertTokenizerFast
    CLIPTextModel CLIPTextModelWithProjection CLIPVisionModel CLIPVisionModelWithProjection
    XLMRobertaModel XLMRobertaTokenizer XLMRobertaTokenizerFast
    DPTForDepthEstimation DPTImageProcessor DPTFeatureExtractor DPTImageProcessorFast=DPTImageProcessor
    CLIPTokenizer CLIPTokenizerFast CLIPImageProcessor CLIPFeatureExtractor CLIPImageProcessorFast=CLIPImageProcessor
"""
# Classes that live in a pipeline's own folder: class -> (folder, file).
_IN_PIPELINES = {
    "LDMBertModel": ("latent_diffusion", "ldmbert"),
    "LearnedClassifierFreeSamplingEmbeddings": ("vq_diffusion", "learned_embeddings"),
    "StableDiffusionSafetyChecker": ("stable_diffusion", "safety_checker"),
    "UNetFlatConditionModel": ("versatile_diffusion", "modeling_text_unet"),
    "SafeStableDiffusionSafetyChecker": ("stable_diffusion_safe", "safety_checker"),
    "RobertaSeriesModelWithTransformation": ("alt_diffusion", "modeling_roberta_series"),
}
# Pipelines that diffusers has retired: it finds the classes in their folders by this module alone.
_RETIRED = {
    "LearnedClassifierFreeSamplingEmbeddings": "diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion",
    "UNetFlatConditionModel": "diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet",
}
# Names that paddlenlp lacks -> what does the same there.
_PADDLENLP_NAMES = {
    "BertTokenizerFast": "BertTokenizer",
    "CLIPTokenizerFast": "CLIPTokenizer",
    "CLIPImageProcessorFast": "CLIPImageProcessor",
    "DPTImageProcessorFast": "DPTImageProcessor",
}
# Pipeline -> components that its first folders called otherwise (google/ncsnpp-*).
_OLD_COMPONENT_NAMES = {"ScoreSdeVePipeline": {"model": "unet"}}
# Classes that hold weights; the others are configurations and vocabularies.
NETWORKS = frozenset(
    ("Transformer2DModel", "LDMBertModel", "LearnedClassifierFreeSamplingEmbeddings")
    + ("UNetFlatConditionModel",)
    + ("UNet1DModel", "UNet2DModel", "UNet2DConditionModel", "AutoencoderKL", "VQModel", "StableDiffusionSafetyChecker")
    + ("DPTForDepthEstimation",)
    + ("XLMRobertaModel", "RobertaSeriesModelWithTransformation", "SafeStableDiffusionSafetyChecker")
    + ("CLIPTextModel", "CLIPTextModelWithProjection", "CLIPVisionModel", "CLIPVisionModelWithProjection")
)


@dataclass(frozen=True)
class KnownClass:
    """A component class that exists in both worlds.

    Attributes:
        name: as published.
        library: "diffusers", "transformers", or the pipeline folder it lives in ("stable_diffusion").
        path: import path of ours, "package.module.Class".
    """

    name: str
    library: str
    path: str

    @property
    def has_weights(self) -> bool:
        """Whether it is a network; else a scheduler, tokenizer or image processor."""
        return self.path.rpartition(".")[2] in NETWORKS


@dataclass(frozen=True)
class Component:
    """One entry of a `model_index.json`.

    Attributes:
        name: of the component, which is its folder too.
        library, class_name: as the file says them; both None for a component that is switched off.
        known: what it is to us; None for a component that is switched off or `given`.
    """

    name: str
    library: str | None
    class_name: str | None
    known: KnownClass | None

    @property
    def path(self) -> str | None:
        """Import path of our class."""
        return self.known and self.known.path


@dataclass(frozen=True)
class ModelIndex:
    """A parsed `model_index.json`.

    Attributes:
        pipeline: class name of the pipeline.
        components: name -> component, those that are switched off included.
        settings: everything else a pipeline is made with, such as `requires_safety_checker`.
        raw: the file as it is.
        file: where it lies.
    """

    pipeline: str
    components: Mapping[str, Component]
    settings: Mapping[str, Any]
    raw: Mapping[str, Any]
    file: Path | None = None


def known_classes() -> dict[str, KnownClass]:
    """All component classes that we have, by their published names."""
    return dict(_KNOWN)


def parse_model_index(path: str | os.PathLike | Mapping[str, Any], given: Iterable[str] = ()) -> ModelIndex:
    """Read a `model_index.json` of either world, old forms included.

    Args:
        path: the file, the folder it is in, or what it holds.
        given: components that the caller brings along: their classes in the file need not be known.

    Raises:
        ConfigError: the file is missing, is not JSON, names no pipeline, or names classes that we do not have.
        UnsafeFileError: a component's name is not a plain folder name, or a library's not a module name.
    """
    if isinstance(path, Mapping):
        file, raw = None, dict(path)
    else:
        file = Path(path)
        file = file / INDEX_NAME if file.is_dir() else file
        raw = read_json(file)
    given = set(given)
    components: dict[str, Component] = {}
    settings: dict[str, Any] = {}
    unsafe: list[str] = []
    problems: list[str] = []
    pipeline = raw.get("_class_name")
    if not isinstance(pipeline, str) or not pipeline.isidentifier():
        problems.append(f"_class_name: {pipeline!r} is no class name")
    old_names = _OLD_COMPONENT_NAMES.get(pipeline, {}) if isinstance(pipeline, str) else {}
    for name, entry in raw.items():
        if name.startswith("_"):
            continue
        if old_names.get(name, name) not in raw:
            name = old_names.get(name, name)
        if not _is_entry(entry):
            settings[name] = entry
            continue
        library, class_name = entry
        strange = [f"{text!r}" for text in (name, class_name) if text is not None and not text.isidentifier()]
        if library is not None and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", library):
            strange.append(f"{library!r}")
        if strange:
            unsafe.append(f"{name}: {', '.join(strange)} cannot be a component, class or module name")
            continue
        known = None if class_name is None else find_class(library, class_name)
        if known is None and class_name is not None and name not in given:
            problems.append(f"{name}: [{library!r}, {class_name!r}] is not a class that we have")
        components[name] = Component(name, library, class_name, known)
    if unsafe:
        raise UnsafeFileError(
            "A model_index.json names something outside its folder.",
            where=file,
            problems=[*unsafe, *problems],
            expected="plain names of folders, modules and classes",
            remedy="do not use this folder unless you know why it says so.",
        )
    if problems:
        raise ConfigError(
            "A model_index.json names what this version cannot load.",
            where=file,
            problems=problems,
            expected=f"classes among {', '.join(sorted(_KNOWN))}",
            remedy="pass such a component yourself as a keyword, or update ppdiffusers.",
        )
    return ModelIndex(str(pipeline), components, settings, raw, file)


def find_class(library: str | None, class_name: str) -> KnownClass | None:
    """The class that an entry `[library, class_name]` of either world means; None if we do not have it."""
    known = _KNOWN.get(class_name)
    if known is None or library is None:
        return None
    return known if _is_home(library, known) else None


def render_entry(class_name: str | None, world: str) -> list[str | None]:
    """The `[library, class]` of a component in a `model_index.json`.

    Args:
        class_name: published (or our) name of the class; None for a component that is switched off.
        world: "diffusers" (PyTorch), "ppdiffusers", or "paddlenlp" (ppdiffusers with paddlenlp's encoders).

    Raises:
        ConfigError: we have no such class.
    """
    if class_name is None:
        return [None, None]
    known = _KNOWN.get(class_name)
    if known is None:
        raise ConfigError(f"{class_name} is not a component class that we have.", expected=", ".join(sorted(_KNOWN)))
    if known.library in ("diffusers", "transformers"):
        library = _LIBRARIES[world][known.library]
        return [library, _PADDLENLP_NAMES.get(class_name, class_name) if "paddlenlp" in library else class_name]
    return [_RETIRED.get(class_name, known.library) if world == "diffusers" else known.library, class_name]


_LIBRARIES = {
    "diffusers": {"diffusers": "diffusers", "transformers": "transformers"},
    "ppdiffusers": {"diffusers": "ppdiffusers", "transformers": "ppdiffusers.transformers"},
    "paddlenlp": {"diffusers": "ppdiffusers", "transformers": "paddlenlp.transformers"},
}


def _is_entry(value: Any) -> bool:
    # A list of two numbers is a setting; a component is two names or two nulls.
    pair = isinstance(value, (list, tuple)) and len(value) == 2
    return pair and all(part is None or isinstance(part, str) for part in value)


def _is_home(library: str, known: KnownClass) -> bool:
    """Whether `library` is a module in which one of the libraries publishes this class."""

    def within(*packages: str) -> bool:
        return any(library == package or library.startswith(package + ".") for package in packages)

    if known.library == "transformers":
        return within("transformers", "paddlenlp.transformers", "ppdiffusers.transformers")
    if known.library == "diffusers":
        # "deprecated": how new diffusers releases write schedulers that they moved there
        return within("diffusers", "ppdiffusers") and not within("ppdiffusers.transformers") or library == "deprecated"
    if library in (known.library, "diffusers", "ppdiffusers", "deprecated"):  # the last three: newer diffusers' forms
        return True
    return within(*(f"{package}.pipelines.{known.library}" for package in ("diffusers", "ppdiffusers"))) or within(
        f"diffusers.pipelines.deprecated.{known.library}"
    )


def _known_classes() -> dict[str, KnownClass]:
    known = {}
    for library, package, names in (
        ("diffusers", "ppdiffusers", _DIFFUSERS),
        ("transformers", "ppdiffusers.transformers", _TRANSFORMERS),
    ):
        for item in names.split():
            name, _, ours = item.partition("=")
            known[name] = KnownClass(name, library, f"{package}.{ours or name}")
    for name, (folder, file) in _IN_PIPELINES.items():
        known[name] = KnownClass(name, folder, f"ppdiffusers.pipelines.{folder}.{file}.{name}")
    return known


_KNOWN = _known_classes()
