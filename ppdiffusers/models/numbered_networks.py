"""Networks that are one component of a pipeline and are saved in the folders `name`, `name_1`, `name_2`, ..."""

from __future__ import annotations

import os
import shutil
from typing import Any, TypeVar

from paddle import nn

from ppdiffusers import registry
from ppdiffusers.core.errors import SourceError
from ppdiffusers.io.hubs.local import numbered_folder, numbered_folders
from ppdiffusers.models.modeling_utils import ModelMixin

Self = TypeVar("Self", bound="NumberedNetworks")


class NumberedNetworks(ModelMixin):
    """Several networks of one class, which the registry names (`networks_class`).

    A subclass accepts a list of networks in `__init__`, and provides them as `_networks`.
    """

    @property
    def _networks(self) -> nn.LayerList:
        raise AttributeError(f"{type(self).__name__} does not define `_networks`.")

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the networks to `save_directory`, `save_directory` + "_1", ...

        Folders of an earlier save with more networks are removed, because they would be loaded too.

        Args:
            kwargs: those of `save_pretrained` of the networks.
        """
        networks = self._networks
        for n, network in enumerate(networks):
            network.save_pretrained(numbered_folder(save_directory, n), **kwargs)
        for stale in numbered_folders(save_directory)[len(networks) :]:
            shutil.rmtree(stale)

    @classmethod
    def from_pretrained(cls: type[Self], pretrained_model_path: str | os.PathLike, **kwargs: Any) -> Self:
        """Load the networks in the folders `pretrained_model_path`, `pretrained_model_path` + "_1", ...

        Args:
            pretrained_model_path: a local folder; load networks of a hub one by one, and pass them as a list.
            kwargs: those of `from_pretrained` of the networks.

        Raises:
            SourceError: the folder does not exist.
        """
        name = registry.find(cls.__name__).networks_class
        folders = numbered_folders(pretrained_model_path)
        if not folders:
            raise SourceError(
                f"The folder of the first {name} does not exist.",
                where=pretrained_model_path,
                expected=f"a folder that `{cls.__name__}.save_pretrained` wrote",
                remedy=f"load each {name} by its name, and pass them as a list.",
            )
        networks = cls([registry.find(name).load().from_pretrained(folder, **kwargs) for folder in folders])
        networks.eval()
        return networks
