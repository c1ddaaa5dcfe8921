"""All tasks of one model. Xu et al., "Versatile Diffusion: Text, Images and Variations All in One Diffusion Model",
arXiv 2211.08332."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stages.turns import pipeline_turn
from ppdiffusers.pipelines.versatile_diffusion.base import VersatileDiffusionBase
from ppdiffusers.pipelines.versatile_diffusion.pipeline_versatile_diffusion_dual_guided import (
    VersatileDiffusionDualGuidedPipeline,
)
from ppdiffusers.pipelines.versatile_diffusion.pipeline_versatile_diffusion_image_variation import (
    VersatileDiffusionImageVariationPipeline,
)
from ppdiffusers.pipelines.versatile_diffusion.pipeline_versatile_diffusion_text_to_image import (
    VersatileDiffusionTextToImagePipeline,
)

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )


def _task(pipeline_class: type[DiffusionPipeline]) -> Callable:
    """A method that calls a pipeline of this class with the same components."""

    @functools.wraps(pipeline_class.__call__, assigned=("__doc__",))
    def method(self: VersatileDiffusionPipeline, *args: Any, **kwargs: Any) -> Any:
        with pipeline_turn(self):  # the first call of a task creates its pipeline
            return self._for_task(pipeline_class)(*args, **kwargs)

    return method


class VersatileDiffusionPipeline(VersatileDiffusionBase):
    """Generate images from prompts (`text_to_image`), from images (`image_variation`) and from both (`dual_guided`).

    Args:
        tokenizer, text_encoder: encode prompts.
        image_feature_extractor, image_encoder: encode images.
        image_unet: denoises latents of images.
        text_unet: denoises vectors of prompts; its transformers attend to prompts.
        vae: decodes latents to images.
        scheduler: any scheduler for the noise schedule of the UNets.
    """

    def __init__(
        self,
        tokenizer: CLIPTokenizer,
        image_feature_extractor: CLIPImageProcessor,
        text_encoder: CLIPTextModelWithProjection,
        image_encoder: CLIPVisionModelWithProjection,
        image_unet: UNet2DConditionModel,
        text_unet: UNetFlatConditionModel,
        vae: AutoencoderKL,
        scheduler: Scheduler,
    ):
        super().__init__()
        self._register(
            tokenizer=tokenizer,
            image_feature_extractor=image_feature_extractor,
            text_encoder=text_encoder,
            image_encoder=image_encoder,
            image_unet=image_unet,
            text_unet=text_unet,
            vae=vae,
            scheduler=scheduler,
        )
        self._tasks: dict[type, DiffusionPipeline] = {}
        self._task_components: dict[str, Any] = {}
        self._compile_arguments: tuple[tuple, dict] | None = None

    text_to_image = _task(VersatileDiffusionTextToImagePipeline)
    image_variation = _task(VersatileDiffusionImageVariationPipeline)
    dual_guided = _task(VersatileDiffusionDualGuidedPipeline)

    def compile(self, *args: Any, **kwargs: Any) -> DiffusionPipeline:
        """Compile as `DiffusionPipeline.compile`; the UNets of the tasks are compiled when they are created."""
        self._compile_arguments = (args, kwargs)
        self._tasks = {}
        return super().compile(*args, **kwargs)

    def _for_task(self, pipeline_class: type[DiffusionPipeline]) -> DiffusionPipeline:
        """The pipeline of this class that shares the components; a new one after a component was replaced."""
        components = self.components
        if any(self._task_components.get(name) is not component for name, component in components.items()):
            self._tasks, self._task_components = {}, components
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
