"""What Stable Diffusion XL pipelines with a ControlNet for several control types share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppdiffusers.models.controlnets.multicontrolnet_union import MultiControlNetUnionModel
from ppdiffusers.pipelines.controlnet.base import ControlNetMixin
from ppdiffusers.pipelines.controlnet.guide import needs_guess_mode
from ppdiffusers.pipelines.controlnet.union_control import UnionControl

if TYPE_CHECKING:
    from ppdiffusers.models.controlnets.controlnet_union import ControlNetUnionModel


class ControlNetUnionMixin(ControlNetMixin):
    """The component `controlnet` is a `ControlNetUnionModel`, or a list, whose residuals are added."""

    _several = MultiControlNetUnionModel
    controlnet: ControlNetUnionModel | MultiControlNetUnionModel  # type of the component

    def _union_control(
        self, images: Any, modes: Any, scale: Any, start: Any, end: Any, guess_mode: bool = False
    ) -> UnionControl:
        """The control images of a call, their types and settings; pooled residuals require guess mode."""
        return UnionControl(
            self.controlnet,
            images,
            modes,
            name=self._control_image_name,
            scale=scale,
            start=start,
            end=end,
            guess_mode=guess_mode or needs_guess_mode(self.controlnet),
        )
