"""All tasks of one model. Xu et al., "Versatile Diffusion: Text, Images and Variations All in One Diffusion Model",
arXiv 2211.08332."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.versatile_diffusion.all_components import AllComponents
from ppdiffusers.pipelines.versatile_diffusion.pipeline_versatile_diffusion_dual_guided import (
    VersatileDiffusionDualGuidedPipeline,
)
from ppdiffusers.pipelines.versatile_diffusion.pipeline_versatile_diffusion_image_variation import (
    VersatileDiffusionImageVariationPipeline,
)
from ppdiffusers.pipelines.versatile_diffusion.pipeline_versatile_diffusion_text_to_image import (
    VersatileDiffusionTextToImagePipeline,
)


def _task(pipeline_class: type[DiffusionPipeline]) -> Callable:
    """A method that calls a pipeline of this class, made of the same components."""

    @functools.wraps(pipeline_class.__call__, assigned=("__doc__",))
    def method(self: VersatileDiffusionPipeline, *args: Any, **kwargs: Any) -> Any:
        return self._for_task(pipeline_class)(*args, **kwargs)

    return method


class VersatileDiffusionPipeline(AllComponents):
    """Pictures from texts (`text_to_image`), from pictures (`image_variation`) and from both (`dual_guided`).

    Args:
        tokenizer, text_encoder: a `CLIPTokenizer` and a `CLIPTextModelWithProjection`.
        image_feature_extractor, image_encoder: a `CLIPImageProcessor` and a `CLIPVisionModelWithProjection`.
        image_unet: a `UNet2DConditionModel` over latents of pictures.
        text_unet: a `UNetFlatConditionModel`, over vectors of texts.
        vae: an `AutoencoderKL`, between pictures and latents.
        scheduler: any scheduler for the UNets' noise schedule.
    """

    def _register(self, **components: Any) -> None:
        super()._register(**components)
        self._tasks: dict[type, DiffusionPipeline] = {}
        self._made_of: dict[str, Any] = {}
        self._compile_arguments: tuple[tuple, dict] | None = None

    text_to_image = _task(VersatileDiffusionTextToImagePipeline)
    image_variation = _task(VersatileDiffusionImageVariationPipeline)
    dual_guided = _task(VersatileDiffusionDualGuidedPipeline)

    def compile(self, *args: Any, **kwargs: Any) -> DiffusionPipeline:
        """As every pipeline's; the UNets that the tasks run with are compiled when they are made."""
        self._compile_arguments = (args, kwargs)
        self._tasks = {}
        return super().compile(*args, **kwargs)

    def _for_task(self, pipeline_class: type[DiffusionPipeline]) -> DiffusionPipeline:
        """A pipeline of this class that shares the components; the same one until a component is another."""
        components = self.components
        if any(self._made_of.get(name) is not component for name, component in components.items()):
            self._tasks, self._made_of = {}, components
        if pipeline_class not in self._tasks:
            names, _ = pipeline_class.component_names()
            made = pipeline_class(**{name: components[name] for name in names})
            if self._compile_arguments is not None:
                args, kwargs = self._compile_arguments
                made.compile(*args, **kwargs)
            self._tasks[pipeline_class] = made
        task = self._tasks[pipeline_class]
        task.set_progress_bar_config(**getattr(self, "_progress_bar_config", {}))
        return task
