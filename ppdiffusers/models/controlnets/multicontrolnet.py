"""Several ControlNets as one: their residuals are added."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import count
from typing import Any

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.io.hubs.local import numbered_folder, numbered_folders
from ppdiffusers.models.controlnets.controlnet import ControlNetModel
from ppdiffusers.models.modeling_outputs import ControlNetOutput
from ppdiffusers.models.modeling_utils import ModelMixin


class MultiControlNetModel(ModelMixin):
    """Add the residuals of several ControlNets.

    It is saved as diffusers saves it: each network in a separate folder, `controlnet`, `controlnet_1`, ...

    Args:
        controlnets: networks for the same UNet.
    """

    def __init__(self, controlnets: Sequence[ControlNetModel]):
        super().__init__()
        self.nets = nn.LayerList(controlnets)

    def forward(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor | float | int,
        encoder_hidden_states: paddle.Tensor,
        controlnet_cond: Sequence[paddle.Tensor],
        conditioning_scale: Sequence[float | paddle.Tensor],
        class_labels: paddle.Tensor | None = None,
        timestep_cond: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guess_mode: bool = False,
        return_dict: bool = True,
    ) -> ControlNetOutput | tuple[tuple[paddle.Tensor, ...], paddle.Tensor]:
        """Compute the sum of the residuals.

        Args:
            controlnet_cond, conditioning_scale: lists with one entry for each network. The other arguments are those of
                `ControlNetModel`.

        Raises:
            InputError: a list has another length.
        """
        lengths = {"controlnet_cond": len(controlnet_cond), "conditioning_scale": len(conditioning_scale)}
        problems = [
            f"{name} has {length} entries for {len(self.nets)} ControlNets"
            for name, length in lengths.items()
            if length != len(self.nets)
        ]
        if problems:
            raise InputError("The inputs do not fit this MultiControlNetModel.", problems=problems)
        down: tuple[paddle.Tensor, ...] = ()
        middle = None
        for network, image, scale in zip(self.nets, controlnet_cond, conditioning_scale, strict=True):
            more, mid = network(
                sample,
                timestep,
                encoder_hidden_states,
                image,
                scale,
                class_labels=class_labels,
                timestep_cond=timestep_cond,
                attention_mask=attention_mask,
                added_cond_kwargs=added_cond_kwargs,
                cross_attention_kwargs=cross_attention_kwargs,
                guess_mode=guess_mode,
                return_dict=False,
            )
            down = tuple(a + b for a, b in zip(down, more, strict=True)) if down else more
            middle = mid if middle is None else middle + mid
        return ControlNetOutput(down, middle) if return_dict else (down, middle)

    # -- files --------------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the networks to `save_directory`, `save_directory` + "_1", ...

        Folders of an earlier save with more networks are removed, because they would be loaded too.

        Args:
            kwargs: those of `ControlNetModel.save_pretrained`.
        """
        for n, network in enumerate(self.nets):
            network.save_pretrained(numbered_folder(save_directory, n), **kwargs)
        for n in count(len(self.nets)):
            stale = numbered_folder(save_directory, n)
            if not stale.is_dir():
                return
            shutil.rmtree(stale)

    @classmethod
    def from_pretrained(cls, pretrained_model_path: str | os.PathLike, **kwargs: Any) -> MultiControlNetModel:
        """Load the networks in the folders `pretrained_model_path`, `pretrained_model_path` + "_1", ...

        Args:
            pretrained_model_path: a local folder; load networks of a hub one by one, and pass them as a list.
            kwargs: those of `ControlNetModel.from_pretrained`.

        Raises:
            SourceError: the folder does not exist.
        """
        folders = numbered_folders(pretrained_model_path)
        if not folders:
            raise SourceError(
                "The folder of the first ControlNet does not exist.",
                where=pretrained_model_path,
                expected="a folder that `MultiControlNetModel.save_pretrained` wrote",
                remedy="load each ControlNet by its name, and pass them as a list.",
            )
        networks = cls([ControlNetModel.from_pretrained(folder, **kwargs) for folder in folders])
        networks.eval()
        return networks
