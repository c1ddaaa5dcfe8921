"""IP-Adapter methods of pipelines (arXiv 2308.06721), with the names of diffusers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.files import expand_user
from ppdiffusers.io.additional_weights import open_additional_weights
from ppdiffusers.io.weights import Checkpoint
from ppdiffusers.models.adapters.block_weights import block_weights
from ppdiffusers.models.adapters.ip_adapter import (
    attach_ip_adapters,
    build_ip_adapters,
    detach_ip_adapters,
    face_id_lora,
    has_ip_adapters,
    set_ip_adapter_scales,
)
from ppdiffusers.pipelines.stages.image_prompts import check_image_prompts, encode_image, prepare_image_embeds
from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    from ppdiffusers.image_processor import PipelineImageInput
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.loaders.lora import StableDiffusionLoraLoaderMixin
    from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
    from ppdiffusers.transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    class _Pipeline(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
        """What the mixin is used with."""

        @property
        def do_classifier_free_guidance(self) -> bool: ...

else:
    _Pipeline = object

logger = get_logger(__name__)

# Height and width of the image encoders of SD and SDXL adapters, for pipelines without one.
_IMAGE_SIZE = 224


class IPAdapterMixin(_Pipeline):
    """IP-Adapters of pipelines with a UNet. The adapters belong to the UNet, not to the pipeline."""

    unet: UNet2DConditionModel
    image_encoder: CLIPVisionModelWithProjection | None
    feature_extractor: CLIPImageProcessor | None
    # for each condition of a step with guidance, whether it sees the image
    _guided_conditions: tuple[bool, ...] = (False, True)

    # -- loading ------------------------------------------------------------------------------------------------------

    def load_ip_adapter(
        self,
        pretrained_model_name_or_path_or_dict: Any,
        subfolder: str | list[str] | None,
        weight_name: str | list[str] | None,
        image_encoder_folder: str | None = "image_encoder",
        **kwargs: Any,
    ) -> None:
        """Load IP-Adapters into the UNet; they replace those that it has.

        The kind is recognized from the names of the tensors: base, Plus, full-face, FaceID, FaceID Plus. The LoRA of a
        FaceID adapter becomes the adapter "faceid_0" (for the second file "faceid_1"), the active one; it remains
        after `unload_ip_adapter`, as in diffusers.

        Args:
            pretrained_model_name_or_path_or_dict: a folder, the name of a repository on a hub, a file, or a dictionary
                {"image_proj": tensors, "ip_adapter": tensors}; a list for several adapters.
            subfolder: folder of the file; a list with one for each adapter.
            weight_name: name of the file, `.safetensors` or `.bin`; a list with one for each adapter.
            image_encoder_folder: folder of the image encoder in `subfolder`, or a path in the repository if it contains
                a slash. It is loaded if the pipeline has none; None to load none.
            kwargs: options of hubs, as in `from_pretrained`.

        Raises:
            WeightsError: a file is no IP-Adapter, or does not fit the UNet; all problems of all files are listed.
            InputError: numbers of files and folders differ, or an image encoder is to be loaded for a dictionary.
        """
        kwargs.pop("low_cpu_mem_usage", None)  # of diffusers: layers are always built without memory
        files = _files(pretrained_model_name_or_path_or_dict, subfolder, weight_name)
        checkpoints = [
            open_additional_weights(
                _flat(source), (), {**kwargs, "subfolder": folder, "weight_name": name}, nested=True
            )
            for source, folder, name in files
        ]
        adapters = build_ip_adapters(self.unet, checkpoints)
        source, folder, _ = files[0]
        self._add_image_components(source, folder or "", image_encoder_folder, kwargs)
        attach_ip_adapters(self.unet, adapters)
        self._load_face_id_loras(checkpoints)

    def _add_image_components(
        self, source: Any, subfolder: str, image_encoder_folder: str | None, options: Mapping[str, Any]
    ) -> None:
        """Load the image encoder and create the feature extractor, if the pipeline lacks them."""
        from ppdiffusers.transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

        if getattr(self, "image_encoder", self) is None:
            if image_encoder_folder is None:
                logger.warning(
                    "The image encoder is not loaded, since `image_encoder_folder` is None: pass "
                    "`ip_adapter_image_embeds` instead of `ip_adapter_image` to the pipeline."
                )
            elif isinstance(source, Mapping):
                raise InputError(
                    "The IP-Adapter is a dictionary, so that its image encoder cannot be found.",
                    remedy="load the pipeline with `image_encoder=`, or pass `image_encoder_folder=None`.",
                )
            else:
                inside = image_encoder_folder if "/" in image_encoder_folder else f"{subfolder}/{image_encoder_folder}"
                path = expand_user(source)
                encoder = CLIPVisionModelWithProjection.from_pretrained(
                    path.parent if path.is_file() else source,
                    subfolder=inside.strip("/").removeprefix("./"),
                    paddle_dtype=self.dtype,
                    **options,
                )
                self.register_modules(image_encoder=encoder.to(device=self.device))
        if getattr(self, "feature_extractor", self) is None:
            encoder = getattr(self, "image_encoder", None)
            size = _IMAGE_SIZE if encoder is None else encoder.config.image_size
            self.register_modules(feature_extractor=CLIPImageProcessor(size=size, crop_size=size))

    def _load_face_id_loras(self, checkpoints: list[Checkpoint]) -> None:
        for n, checkpoint in enumerate(checkpoints):
            lora, name = face_id_lora(self.unet, checkpoint), f"faceid_{n}"
            if lora and name not in self.get_list_adapters().get("unet", []):
                self.load_lora_weights(lora, adapter_name=name)
                self.set_adapters([name], adapter_weights=[1.0])

    def set_ip_adapter_scale(self, scale: Any) -> None:
        """Set how much images count. A compiled UNet is not compiled again.

        Args:
            scale: a number for all adapters, or a list with one entry for each adapter: a number, a list with a number
                for each of its images (with masks), or a dictionary of blocks, in which missing blocks have scale 0:
                `{"down": {"block_2": [0.0, 1.0]}, "up": {"block_0": [0.0, 1.0, 0.0]}}` for style and layout,
                `{"up": {"block_0": [0.0, 1.0, 0.0]}}` for style only (InstantStyle, arXiv 2404.02733).

        Raises:
            InputError: the number of scales is not that of the adapters, or blocks do not exist.
        """
        if not has_ip_adapters(self.unet):
            logger.warning("`set_ip_adapter_scale` has no effect: no IP-Adapter is loaded.")
            return
        scales = scale if isinstance(scale, list) else [scale] * self.unet.encoder_hid_proj.num_ip_adapters
        by_layer = [block_weights(self.unet, one, default=0.0) if isinstance(one, Mapping) else one for one in scales]
        set_ip_adapter_scales(self.unet, by_layer)

    def unload_ip_adapter(self) -> None:
        """Remove the IP-Adapters from the UNet, and the image encoder from the pipeline.

        The feature extractor is removed too, unless the pipeline has a safety checker as a component, which uses it.
        """
        if getattr(self, "image_encoder", None) is not None:
            self.register_modules(image_encoder=None)
        if not hasattr(self, "safety_checker") and getattr(self, "feature_extractor", None) is not None:
            self.register_modules(feature_extractor=None)
        detach_ip_adapters(self.unet)

    # -- images of a call ---------------------------------------------------------------------------------------------

    def encode_image(
        self,
        image: PipelineImageInput,
        device: Any,
        num_images_per_prompt: int,
        output_hidden_states: bool | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Encode images: (embeddings, unconditional embeddings); see `stages.image_prompts.encode_image`."""
        return encode_image(
            self.image_encoder, self.feature_extractor, image, num_images_per_prompt, output_hidden_states
        )

    def prepare_ip_adapter_image_embeds(
        self,
        ip_adapter_image: PipelineImageInput | None,
        ip_adapter_image_embeds: list[paddle.Tensor] | None,
        device: Any,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool,
    ) -> list[paddle.Tensor]:
        """Embeddings of images, for each IP-Adapter [num_images_per_prompt, N, ...].

        With guidance there are twice as many, the unconditional ones first. The result can be saved, and passed to
        calls as `ip_adapter_image_embeds`.
        """
        return prepare_image_embeds(
            self.unet,
            lambda image, hidden_states: self.encode_image(image, self.device, 1, hidden_states),
            ip_adapter_image,
            ip_adapter_image_embeds,
            num_images_per_prompt,
            self._guided_conditions if do_classifier_free_guidance else (True,),
        )

    def _check_ip_adapter(self, image: Any, embeds: Any = None) -> list[str]:
        encoder = getattr(self, "image_encoder", None)
        return check_image_prompts(unet=self.unet, image_encoder=encoder, image=image, embeds=embeds)

    def _image_conditions(self, image: Any, embeds: Any, batch_size: int) -> dict[str, Any] | None:
        """`added_cond_kwargs` of the UNet for the image prompts of a call; None without."""
        if image is None and embeds is None:
            return None
        guided = self.do_classifier_free_guidance
        return {"image_embeds": self.prepare_ip_adapter_image_embeds(image, embeds, self.device, batch_size, guided)}


def _files(sources: Any, subfolders: Any, names: Any) -> list[tuple[Any, str | None, str | None]]:
    """Combine the arguments of `load_ip_adapter` to (source, subfolder, name of the file) of each adapter."""
    lists = [list(some) if isinstance(some, list) else [some] for some in (sources, subfolders, names)]
    count = len(lists[2])
    lists = [some * count if len(some) == 1 else some for some in lists]
    if any(len(some) != count for some in lists) or not count:
        given = zip(("pretrained_model_name_or_path_or_dict", "subfolder", "weight_name"), lists)
        raise InputError(
            "The numbers of IP-Adapters differ.",
            problems=[f"`{name}` has {len(some)} entries" for name, some in given],
            expected="one `weight_name` for each adapter, and one of the others for each or for all",
        )
    return list(zip(*lists, strict=True))


def _flat(source: Any) -> Any:
    """Join the names of nested dictionaries: {"image_proj": {"proj.weight": x}} -> {"image_proj.proj.weight": x}."""
    if not isinstance(source, Mapping):
        return os.fspath(source) if isinstance(source, os.PathLike) else source
    flat: dict[str, Any] = {}
    for name, value in source.items():
        flat |= (
            {f"{name}.{key}": tensor for key, tensor in value.items()} if isinstance(value, Mapping) else {name: value}
        )
    return flat
