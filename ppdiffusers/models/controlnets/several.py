"""Several ControlNets as one network: their folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar, TypeVar

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.io.hubs.local import numbered_folder, numbered_folders
from ppdiffusers.models.controlnets.encoder import ControlNetEncoder
from ppdiffusers.models.modeling_utils import ModelMixin

Several = TypeVar("Several", bound="SeveralControlNets")


class SeveralControlNets(ModelMixin):
    """ControlNets for the same UNet, saved as diffusers saves them: in folders `controlnet`, `controlnet_1`, ...

    Class attributes:
        _network: class of the networks.
    """

    _network: ClassVar[type[ControlNetEncoder]]

    def __init__(self, controlnets: Sequence[ControlNetEncoder]):
        super().__init__()
        self.nets = nn.LayerList(controlnets)

    def _check_lists(self, **lists: Sequence[Any]) -> None:
        """Raise InputError unless each list has one entry for each network."""
        problems = [
            f"{name} has {len(entries)} entries for {len(self.nets)} ControlNets"
            for name, entries in lists.items()
            if len(entries) != len(self.nets)
        ]
        if problems:
            raise InputError(f"The inputs do not fit this {type(self).__name__}.", problems=problems)

    @staticmethod
    def _sum(
        residuals: Sequence[tuple[tuple[paddle.Tensor, ...], paddle.Tensor]],
    ) -> tuple[tuple[paddle.Tensor, ...], paddle.Tensor]:
        """The sums of the residuals of the networks."""
        (down, middle), *others = residuals
        for more, mid in others:
            down = tuple(a + b for a, b in zip(down, more, strict=True))
            middle = middle + mid
        return down, middle

    # -- files --------------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the networks to `save_directory`, `save_directory` + "_1", ...

        Folders of an earlier save with more networks are removed, because they would be loaded too.

        Args:
            kwargs: those of `save_pretrained` of the networks.
        """
        for n, network in enumerate(self.nets):
            network.save_pretrained(numbered_folder(save_directory, n), **kwargs)
        for n in count(len(self.nets)):
            stale = numbered_folder(save_directory, n)
            if not stale.is_dir():
                return
            shutil.rmtree(stale)

    @classmethod
    def from_pretrained(cls: type[Several], pretrained_model_path: str | os.PathLike, **kwargs: Any) -> Several:
        """Load the networks in the folders `pretrained_model_path`, `pretrained_model_path` + "_1", ...

        Args:
            pretrained_model_path: a local folder; load networks of a hub one by one, and pass them as a list.
            kwargs: those of `from_pretrained` of the networks.

        Raises:
            SourceError: the folder does not exist.
        """
        folders = numbered_folders(pretrained_model_path)
        if not folders:
            raise SourceError(
                "The folder of the first ControlNet does not exist.",
                where=pretrained_model_path,
                expected=f"a folder that `{cls.__name__}.save_pretrained` wrote",
                remedy="load each ControlNet by its name, and pass them as a list.",
            )
        networks = cls([cls._network.from_pretrained(folder, **kwargs) for folder in folders])
        networks.eval()
        return networks
