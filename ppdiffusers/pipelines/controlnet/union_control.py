"""The control images of a call with a ControlNet for several control types: their types, checks, and residuals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.pipelines.controlnet import checks as control_checks
from ppdiffusers.pipelines.controlnet.control import Control
from ppdiffusers.pipelines.controlnet.guide import ControlNetGuide, networks_of
from ppdiffusers.utils.dtypes import dtype_of

if TYPE_CHECKING:
    from ppdiffusers.models.controlnets.controlnet_union import ControlNetUnionModel
    from ppdiffusers.schedulers.common.types import Scheduler


class UnionControl(Control):
    """Control images of several types: one network reads all of them, or each of several networks reads its own.

    Args:
        images: one for each control type (each one image, or one for each prompt). For several networks a list with an
            entry for each network, which is such a list if its `modes` are a list.
        modes: number of the control type of each image, in the same lists.
        settings: those of `Control`; lists have one entry for each image, or for each of several networks.
    """

    _types = True

    def __init__(self, controlnet: Any, images: Any, modes: Any, **settings: Any):
        super().__init__(controlnet, images, **settings)
        self.modes = list(modes) if isinstance(modes, list | tuple) else [modes]

    @property
    def _several(self) -> bool:
        return hasattr(self.controlnet, "nets")

    @property
    def count(self) -> int:
        return len(networks_of(self.controlnet)) if self._several else len(self.modes)

    def modes_of_networks(self) -> list[list[Any]]:
        """Control types of each network."""
        if not self._several:
            return [self.modes]
        return [list(modes) if isinstance(modes, list | tuple) else [modes] for modes in self.modes]

    def images_of_networks(self) -> list[list[Any]]:
        """Images of each network, one for each of its control types."""
        images = self.images if isinstance(self.images, list) else [self.images]
        if not self._several:
            return [images]
        modes = [*self.modes, *[None] * len(images)]
        return [
            image if isinstance(mode, list | tuple) and isinstance(image, list) else [image]
            for image, mode in zip(images, modes)
        ]

    def entries(self) -> list[Any]:
        return [image for images in self.images_of_networks() for image in images]

    # -- checks -------------------------------------------------------------------------------------------------------

    def check(self, prompts: int | None) -> list[str]:
        return [*super().check(prompts), *self._check_modes()]

    def _entries_of(self) -> str:
        return "ControlNet(s)" if self._several else "control image(s)"

    def check_images(self, prompts: int | None) -> list[str]:
        if not self.entries():
            return [f"`{self.name}` is an empty list"]
        return [
            problem
            for n, image in enumerate(self.entries())
            for problem in control_checks.check_control_image(image, prompts, f"{self.name}[{n}]")
        ]

    def _check_modes(self) -> list[str]:
        """As many images as types, which the networks have."""
        networks, modes, images = networks_of(self.controlnet), self.modes_of_networks(), self.images_of_networks()
        if len(modes) != len(networks) or len(images) != len(networks):
            found = f"`{self.name}` has {len(images)} and `control_mode` {len(modes)} entries"
            return [f"{found} for {len(networks)} ControlNets"]
        problems = []
        for n, network in enumerate(networks):
            if len(modes[n]) != len(images[n]):
                where = f" for `controlnet.nets[{n}]`" if self._several else ""
                problems.append(
                    f"`{self.name}` has {len(images[n])} images and `control_mode` {len(modes[n])} types{where}"
                )
            known = network.config.num_control_type if self._reads_types(network) else 0
            problems += [
                f"`control_mode` {mode!r} is not a control type: pass integers from 0 to {known - 1}"
                for mode in modes[n]
                if known and mode not in range(known)
            ]
        return problems

    # -- tensors ------------------------------------------------------------------------------------------------------

    def prepare(self, prepare: Callable[..., paddle.Tensor], **arguments: Any) -> Any:
        """Prepare the images: a list with a tensor [n * B, C, H, W] for each, or such a list for each network."""
        prepared = [
            [self._prepare(prepare, image, arguments) for image in images] for images in self.images_of_networks()
        ]
        return prepared if self._several else prepared[0]

    def guide(self, scheduler: Scheduler, num_steps: int) -> UnionGuide:
        return UnionGuide(
            self.controlnet,
            scheduler,
            name=self.name,
            intervals=self.intervals(),
            guess_mode=self.guess_mode,
            num_steps=num_steps,
            modes=self.modes_of_networks(),
        )


class UnionGuide(ControlNetGuide):
    """Residuals of networks for several control types.

    Args:
        modes: the control types of each network.
        settings: those of `ControlNetGuide`; the tensors are those of `UnionControl.prepare`, and the intervals those
            of the images of one network, or of several networks.
    """

    def __init__(self, controlnet: Any, scheduler: Scheduler, *, modes: Sequence[Sequence[int]], **settings: Any):
        super().__init__(controlnet, scheduler, **settings)
        self.modes = modes

    def arguments(self, images: Any, scales: list[float], batch: int) -> dict[str, Any]:
        several, networks = hasattr(self.controlnet, "nets"), networks_of(self.controlnet)
        images = [[self.last(image, batch) for image in own] for own in (images if several else [images])]
        types = [one_hot(network, modes, batch) for network, modes in zip(networks, self.modes, strict=True)]
        return {
            "controlnet_cond": images if several else images[0],
            "control_type": types if several else types[0],
            "control_type_idx": [list(modes) for modes in self.modes] if several else list(self.modes[0]),
            "conditioning_scale": scales,
        }

    def skips(self, scales: list[float]) -> bool:
        """Scales of several images of one network do not scale its residuals, which remain if they are 0."""
        one_network_several_images = not hasattr(self.controlnet, "nets") and len(scales) > 1
        return not one_network_several_images and super().skips(scales)


def one_hot(network: ControlNetUnionModel, modes: Sequence[int], batch: int) -> paddle.Tensor:
    """1 for the control types of the images, 0 for others, [batch, num_control_type]."""
    types = np.zeros((batch, network.config.num_control_type), dtype=np.float32)
    types[:, list(modes)] = 1
    return paddle.to_tensor(types).astype(dtype_of(network))
