"""Predictor-corrector sampling: Song et al., "Score-Based Generative Modeling through SDEs" (arXiv 2011.13456),
algorithm 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.timesteps import host_timesteps
from ppdiffusers.pipelines.stages.unconditional import check_call, initial_noise
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.schedulers.scheduling_sde_ve import ScoreSdeVeScheduler


class ScoreSdeVePipeline(DiffusionPipeline):
    """Generate images by the variance-exploding SDE.

    Args:
        unet: a `UNet2DModel` of the NCSN++ architecture, which predicts the score from the noise level.
        scheduler: `ScoreSdeVeScheduler`.
    """

    unet: UNet2DModel
    scheduler: ScoreSdeVeScheduler

    def __init__(self, unet: UNet2DModel, scheduler: ScoreSdeVeScheduler):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.image_processor = VaeImageProcessor(do_normalize=False)

    @inference
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int = 2000,
        generator: Generator = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Generate images.

        Args:
            batch_size: number of images.
            num_inference_steps: number of noise levels; each takes `correct_steps` corrector steps
                and a predictor step.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            output_type: "pil", "np" ([B, H, W, C] in [0, 1]) or "pd" (a tensor [B, C, H, W] in [0, 1]).
            return_dict: if False, return `(images,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        check_call(
            self,
            batch_size=batch_size,
            num_inference_steps=num_inference_steps,
            generator=generator,
            output_type=output_type,
        )
        generator = as_generator(generator)
        sample = initial_noise(self.unet, batch_size, generator, self.scheduler.init_noise_sigma)  # [B, C, H, W]

        self.scheduler.set_timesteps(num_inference_steps)
        self.scheduler.set_sigmas(num_inference_steps)
        finite, mean = FiniteCheck(), sample
        times = self.progress_bar(host_timesteps(self.scheduler))
        for t, sigma in zip(times, self.scheduler.host_sigmas, strict=True):
            for _ in range(self.scheduler.config.correct_steps):
                score = self._score(sample, sigma)
                sample = self.scheduler.step_correct(score, sample, generator=generator).prev_sample
            step = self.scheduler.step_pred(self._score(sample, sigma), t, sample, generator=generator)
            sample, mean = step.prev_sample, step.prev_sample_mean
            finite.note(f"denoising at time {float(t):.4f}", sample)
        finite.warn()

        # the noise of the last step is not added
        images = self.image_processor.postprocess(mean.clip(0, 1), output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _score(self, sample: paddle.Tensor, sigma: float) -> paddle.Tensor:
        """Score of images with noise of level `sigma`: the gradient of their log density, [B, C, H, W]."""
        levels = paddle.full([sample.shape[0]], float(sigma), dtype="float32")  # [B]
        return self.unet(sample, levels, return_dict=False)[0]
