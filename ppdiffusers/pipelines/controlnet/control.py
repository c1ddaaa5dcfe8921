"""The control images of a call and the settings of its ControlNets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from ppdiffusers.pipelines.controlnet import checks as control_checks
from ppdiffusers.pipelines.controlnet.guide import ControlNetGuide, networks_of, one_each
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.utils.dtypes import dtype_of

if TYPE_CHECKING:
    from ppdiffusers.image_processor import VaeImageProcessor
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.controlnets.controlnet import ControlNetModel
    from ppdiffusers.models.controlnets.controlnet_union import ControlNetUnionModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler


class Control:
    """Control images and settings of a call: their checks, size and tensors, and the guide of the denoising loop.

    Args:
        images: as they are passed to the call: one, or one for each prompt; for several ControlNets a list.
        name: of the images among the arguments of the call, and among the tensors of callbacks.
        scale, start, end: factor of the residuals, and the fractions of the steps between which a ControlNet is
            applied; a number, or a list with one for each ControlNet.
        guess_mode: apply the ControlNets to the predictions with the prompt only.
    """

    _types = False  # whether the networks are for several control types

    def __init__(
        self,
        controlnet: ControlNetModel | MultiControlNetModel,
        images: Any,
        *,
        name: str,
        scale: float | Sequence[float] = 1.0,
        start: float | Sequence[float] = 0.0,
        end: float | Sequence[float] = 1.0,
        guess_mode: bool = False,
    ):
        self.controlnet, self.images, self.name = controlnet, images, name
        self.scale, self.start, self.end, self.guess_mode = scale, start, end, guess_mode

    @property
    def count(self) -> int:
        """Number of control images for each generated image, and of settings."""
        return len(networks_of(self.controlnet))

    def entries(self) -> list[Any]:
        """The images of each ControlNet: one, or one for each prompt."""
        return control_checks.per_network(self.images, self.count)

    # -- checks -------------------------------------------------------------------------------------------------------

    def check(self, prompts: int | None) -> list[str]:
        """Problems of the images, for this number of prompts, and of the settings."""
        return [
            *self.check_images(prompts),
            *control_checks.check_control_settings(
                networks=self.count, scale=self.scale, start=self.start, end=self.end, of=self._entries_of()
            ),
        ]

    def _entries_of(self) -> str:
        """What lists of settings have entries for."""
        return "ControlNet(s)"

    def check_images(self, prompts: int | None) -> list[str]:
        """Problems of the images."""
        return control_checks.check_control_images(self.images, networks=self.count, prompts=prompts, name=self.name)

    def check_networks(self, unet: UNet2DConditionModel, channels: int, scale_factor: int) -> list[str]:
        """Problems of ControlNets that are not for this UNet; `channels` are those of the latents that they read."""
        networks = networks_of(self.controlnet)
        others = [type(network).__name__ for network in networks if self._reads_types(network) != self._types]
        if others:
            expected = "ControlNetUnionModel" if self._types else "ControlNetModel"
            return [f"`controlnet` is a {others[0]}, expected a {expected}: load the pipeline for this network"]
        return control_checks.check_controlnets(networks, unet, channels=channels, scale_factor=scale_factor)

    @staticmethod
    def _reads_types(network: ControlNetModel | ControlNetUnionModel) -> bool:
        return "num_control_type" in network.config

    def size(
        self,
        prompts: int | None,
        height: Any,
        width: Any,
        scale_factor: int,
        image: Any = None,
        vae: AutoencoderKL | None = None,
    ) -> tuple[int | None, int | None, list[str]]:
        """Height and width (None if the images are invalid), and problems of the sizes.

        By default they are those of the control images, rounded down to sizes that the VAE can encode.

        Args:
            image: the image that the call starts from, which is resized to the same size, or its latents.
            vae: the VAE of these latents.
        """
        given = {name: 1 if value is None else value for name, value in (("height", height), ("width", width))}
        problems = checks.check_size(**given, multiple=1)
        if problems or self.check_images(prompts):
            return None, None, problems
        problems = control_checks.check_control_size(self.entries(), name=self.name, height=height, width=width)
        default = checks.size_of(self.entries()[0])
        resized = height is not None and width is not None
        height, width = default[0] if height is None else height, default[1] if width is None else width
        height, width = height - height % scale_factor, width - width % scale_factor
        if image is not None and not checks.check_images(image=image):
            found = checks.size_of(image)
            if isinstance(image, paddle.Tensor) and image.ndim == 4 and vae.is_latents(image):
                found, resized = (found[0] * scale_factor, found[1] * scale_factor), False
            found = (found[0] - found[0] % scale_factor, found[1] - found[1] % scale_factor)
            if not resized and found != (height, width):
                problems.append(
                    f"`image` is {found[0]} x {found[1]} and `{self.name}` {height} x {width} (height x width): "
                    "pass `height` and `width`, or images of the same size"
                )
        return height, width, problems

    # -- tensors ------------------------------------------------------------------------------------------------------

    def prepare(self, prepare: Callable[..., paddle.Tensor], **arguments: Any) -> Any:
        """Prepare the images of each ControlNet: a tensor [n * B, C, H, W], or a list of them.

        Args:
            prepare: public method of the pipeline, which may be overridden.
            arguments: those of the method except the image, dtype and guess mode.
        """
        prepared = [self._prepare(prepare, entry, arguments) for entry in self.entries()]
        return prepared if isinstance(self.controlnet, MultiControlNetModel) else prepared[0]

    def _prepare(self, prepare: Callable[..., paddle.Tensor], image: Any, arguments: dict[str, Any]) -> paddle.Tensor:
        return prepare(image=image, **arguments, dtype=dtype_of(self.controlnet), guess_mode=self.guess_mode)

    def guide(self, scheduler: Scheduler, num_steps: int) -> ControlNetGuide:
        """The residuals of the ControlNets in a call of this number of steps."""
        return ControlNetGuide(
            self.controlnet,
            scheduler,
            name=self.name,
            intervals=self.intervals(),
            guess_mode=self.guess_mode,
            num_steps=num_steps,
        )

    def intervals(self) -> list[tuple[float, float, float]]:
        """Scale, start and end for each control image."""
        settings = (one_each(value, self.count) for value in (self.scale, self.start, self.end))
        return list(zip(*settings, strict=True))


def control_tensor(
    processor: VaeImageProcessor,
    image: Any,
    *,
    width: int | None,
    height: int | None,
    batch_size: int,
    num_images_per_prompt: int,
    dtype: paddle.dtype,
    guided: bool,
    **crop: Any,
) -> paddle.Tensor:
    """Control images [B, C, H, W] in [0, 1], twice with guidance.

    Args:
        image: one image for all prompts, or one for each.
        batch_size: number of images to generate, B.
        crop: `crops_coords` and `resize_mode` of the image processor.
    """
    image = processor.preprocess(image, height=height, width=width, **crop)
    repeats = batch_size if image.shape[0] == 1 else num_images_per_prompt
    image = image.astype("float32").repeat_interleave(repeats, axis=0).astype(dtype)  # [B, C, H, W]
    return paddle.concat([image] * 2) if guided else image
