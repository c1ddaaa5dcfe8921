"""Text to image. Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents", arXiv
2204.06125."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.prior import EncodedPrompts, encode_for_prior, predict_image_embedding
from ppdiffusers.pipelines.unclip.base import Latents, UnCLIPBase, named
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.transformers.prior_transformer import PriorTransformer
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.unclip.text_proj import UnCLIPTextProjModel
    from ppdiffusers.schedulers.scheduling_unclip import UnCLIPScheduler
    from ppdiffusers.transformers import CLIPTextModelWithProjection, CLIPTokenizer


class UnCLIPPipeline(UnCLIPBase):
    """Generate images from prompts in three stages.

    The prior generates a CLIP image embedding for the prompt; the decoder generates a small image from both; the
    upscaler generates the image from it.

    Args:
        prior: denoises image embeddings.
        decoder: denoises small images, and predicts the variance of its steps.
        text_encoder, tokenizer: encode prompts.
        text_proj: combines embeddings of image and prompt for the decoder.
        super_res_first, super_res_last: the upscaler, and its last step.
        prior_scheduler, decoder_scheduler, super_res_scheduler: one for each stage.
    """

    prior: PriorTransformer
    prior_scheduler: UnCLIPScheduler

    def __init__(
        self,
        prior: PriorTransformer,
        decoder: UNet2DConditionModel,
        text_encoder: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        text_proj: UnCLIPTextProjModel,
        super_res_first: UNet2DModel,
        super_res_last: UNet2DModel,
        prior_scheduler: UnCLIPScheduler,
        decoder_scheduler: UnCLIPScheduler,
        super_res_scheduler: UnCLIPScheduler,
    ):
        super().__init__()
        self._register(
            prior=prior,
            decoder=decoder,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_proj=text_proj,
            super_res_first=super_res_first,
            super_res_last=super_res_last,
            prior_scheduler=prior_scheduler,
            decoder_scheduler=decoder_scheduler,
            super_res_scheduler=super_res_scheduler,
        )

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        num_images_per_prompt: int = 1,
        prior_num_inference_steps: int = 25,
        decoder_num_inference_steps: int = 25,
        super_res_num_inference_steps: int = 7,
        generator: Generator = None,
        prior_latents: Latents = None,
        decoder_latents: Latents = None,
        super_res_latents: Latents = None,
        text_model_output: Any = None,
        text_attention_mask: paddle.Tensor | np.ndarray | None = None,
        prior_guidance_scale: float = 4.0,
        decoder_guidance_scale: float = 8.0,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Generate images from prompts.

        Args:
            prompt: `num_images_per_prompt` images are generated for each string.
            prior_num_inference_steps, decoder_num_inference_steps, super_res_num_inference_steps: steps of each stage.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            prior_latents: initial noise of the prior, [B, D].
            decoder_latents, super_res_latents: initial noise [B, 3, h, w] and [B, 3, H, W].
            text_model_output: instead of `prompt`, outputs of the text encoder: embeddings [B, D] first, then hidden
                states [B, L, D]; for interpolation between prompts, for example.
            text_attention_mask: [B, L], True for tokens and False for padding; required with `text_model_output`.
            prior_guidance_scale, decoder_guidance_scale: classifier-free guidance of each stage; there is none if both
                are at most 1.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent"
                (a tensor in [-1, 1]).
            return_dict: if False, return `(images,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        given = None if text_model_output is None else text_model_output[0]
        batch = checks.num_prompts(prompt, given)
        checks.raise_problems(
            self,
            _check_prompts(prompt, text_model_output, text_attention_mask),
            checks.check_components(self.components, "prior"),
            checks.check_counts(prior_num_inference_steps=prior_num_inference_steps),
            checks.check_numbers(prior_guidance_scale=prior_guidance_scale),
            self._check_common(
                batch=batch,
                generator=generator,
                output_type=output_type,
                num_images_per_prompt=num_images_per_prompt,
                decoder_guidance_scale=decoder_guidance_scale,
                decoder_num_inference_steps=decoder_num_inference_steps,
                super_res_num_inference_steps=super_res_num_inference_steps,
                decoder_latents=decoder_latents,
                super_res_latents=super_res_latents,
            ),
            [] if self.prior is None else self._check_prior_latents(prior_latents, batch, num_images_per_prompt),
        )
        generator, finite = as_generator(generator), FiniteCheck()
        guided = prior_guidance_scale > 1.0 or decoder_guidance_scale > 1.0

        # 1. the prompts
        if given is None:
            strings = [prompt] if isinstance(prompt, str) else prompt
            prompts = encode_for_prior(self._prompt_encoder, strings, warn=True)
        else:
            mask = paddle.to_tensor(np.asarray(text_attention_mask).astype(np.int64))
            prompts = EncodedPrompts(given, text_model_output[1], mask)
        prompts = prompts.repeat(num_images_per_prompt)
        if guided:
            prompts = prompts.with_unconditional(self._prompt_encoder)

        # 2. image embeddings
        image_embeddings = self._generate_embeddings(
            prompts, prior_num_inference_steps, prior_guidance_scale, guided, generator, prior_latents, finite
        )  # [B, D]

        # 3. small images, and from these the images
        image_small = self._decode_embeddings(
            image_embeddings,
            prompts,
            decoder_num_inference_steps,
            decoder_guidance_scale,
            guided,
            generator,
            decoder_latents,
            finite,
        )  # [B, 3, h, w]
        image = self._upscale(image_small, super_res_num_inference_steps, generator, super_res_latents, finite)
        return self._output(image, output_type, return_dict, finite)

    def _generate_embeddings(
        self,
        prompts: EncodedPrompts,
        num_inference_steps: int,
        guidance_scale: float,
        guided: bool,
        generator: Generator,
        latents: Latents,
        finite: FiniteCheck,
    ) -> paddle.Tensor:
        """Generate CLIP image embeddings [B, D] for prompts."""
        batch_size = prompts.embeds.shape[0] // (2 if guided else 1)
        shape = (batch_size, self.prior.config.embedding_dim)
        latents = self.prepare_latents(
            shape, prompts.embeds.dtype, self.device, generator, latents, self.prior_scheduler
        )

        def predict(sample: paddle.Tensor, t: Any, is_last: bool) -> paddle.Tensor:  # [B, D]
            return predict_image_embedding(self.prior, sample, t, prompts, guidance_scale)

        sample = self._denoise(latents, self.prior_scheduler, num_inference_steps, generator, predict, finite)
        return self.prior.post_process_latents(sample)

    def _check_prior_latents(self, latents: Any, batch: int | None, num_images_per_prompt: Any) -> list[str]:
        known = batch is not None and checks.is_integer(num_images_per_prompt)
        shape = (batch * num_images_per_prompt if known else None, self.prior.config.embedding_dim)
        return named("prior_latents", checks.check_latents(latents, shape))


def _check_prompts(prompt: Any, text_model_output: Any, text_attention_mask: Any) -> list[str]:
    """Either strings, or outputs of the text encoder and their mask."""
    if text_model_output is None:
        missing = ["neither `prompt` nor `text_model_output` is given: pass one of them"] if prompt is None else []
        return missing + checks.check_strings("prompt", prompt)
    problems = []
    if prompt is not None:
        problems.append("`prompt` and `text_model_output` are both given: pass one of them")
    if text_attention_mask is None:
        return [*problems, "`text_model_output` requires `text_attention_mask`"]
    found, expected = tuple(text_attention_mask.shape), tuple(text_model_output[1].shape[:2])
    if found != expected:
        problems.append(f"`text_attention_mask` must be of shape {expected}, not {found}")
    return problems
