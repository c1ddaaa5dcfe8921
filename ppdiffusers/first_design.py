"""The interface of diffusers' first design document (June 2022): the denoising loop is written by its user.

The formulas of one step of DDPM (https://arxiv.org/abs/2006.11239, eq. 6 and 7) stand in the loop, and the scheduler
only provides their coefficients; see `examples/inference/unconditional_image_generation-first_design.py`. New code uses
`UNet2DModel` and `DDPMScheduler`, whose `step` is the same loop body.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.convert.apply import apply_rules, to_paddle_layout
from ppdiffusers.convert.checkpoints import ddpm
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.io.pretrained import fill_layer, target_dtype
from ppdiffusers.io.weights import open_weights
from ppdiffusers.models.unets.unet_2d import UNet2DModel
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving, make_betas
from ppdiffusers.schedulers.common.prediction import check_choice
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

if TYPE_CHECKING:
    from typing_extensions import Self

WEIGHTS_NAME = "diffusion_model.pt"  # of the releases until July 2022
# Arguments of the first UNetModel that `convert.checkpoints.ddpm` reads.
_SETTINGS = ("ch", "out_ch", "ch_mult", "num_res_blocks", "attn_resolutions", "resamp_with_conv", "in_channels")


class GaussianDDPMScheduler(VariancePreserving, SchedulerMixin):
    """The forward process of DDPM and the variance of its reverse steps.

    Configurations of `DDPMScheduler` are accepted, too.

    Args:
        timesteps: T, the number of steps of the forward process; `len(scheduler)`.
        beta_start, beta_end, beta_schedule: the betas, see `noise_schedule.make_betas`.
        variance_type: the variance of a reverse step: "fixed_small" is the posterior's (eq. 7),
            "fixed_large" is beta_t.
        clip_predicted_image: recorded only: the loop clips the predicted image itself.
    """

    renamed_config_keys = {"num_train_timesteps": "timesteps", "clip_sample": "clip_predicted_image"}

    @register_to_config
    def __init__(
        self,
        timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        variance_type: str = "fixed_small",
        clip_predicted_image: bool = True,
    ):
        check_choice("variance_type", variance_type, ("fixed_small", "fixed_large"))
        self.noise_schedule = NoiseSchedule.from_betas(make_betas(beta_schedule, timesteps, beta_start, beta_end))

    def __len__(self) -> int:
        return self.config.timesteps

    def get_alpha(self, time_step: int) -> paddle.Tensor:
        """Return alpha_t = 1 - beta_t, a tensor without axes."""
        return self.alphas[self._checked(time_step)]

    def get_beta(self, time_step: int) -> paddle.Tensor:
        """Return beta_t, a tensor without axes."""
        return self.betas[self._checked(time_step)]

    def get_alpha_prod(self, time_step: int) -> paddle.Tensor:
        """Return the product of the alphas up to t, a tensor without axes; 1 for a negative timestep."""
        if time_step < 0:
            return paddle.ones([])
        return self.alphas_cumprod[self._checked(time_step)]

    def sample_noise(self, shape: Sequence[int], device: object = None, generator: Generator = None) -> paddle.Tensor:
        """Draw standard normal noise of `shape`; arguments as in `utils.torch_utils.randn_tensor`."""
        return randn_tensor(shape, generator=generator, device=device)

    def sample_variance(
        self, time_step: int, shape: Sequence[int], device: object = None, generator: Generator = None
    ) -> paddle.Tensor:
        """Draw the noise of a reverse step: its standard deviation times normal noise of `shape`, zero for t = 0."""
        noise = self.sample_noise(shape, device, generator)
        return noise * self._standard_deviation(self._checked(time_step))

    def _standard_deviation(self, t: int) -> float:
        if t == 0:
            return 0.0
        beta = self.host_betas[t]
        if self.config.variance_type == "fixed_large":
            return float(np.sqrt(beta))
        previous, current = self.host_alphas_cumprod[t - 1], self.host_alphas_cumprod[t]
        return float(np.sqrt(max(beta * (1 - previous) / (1 - current), 1e-20)))  # eq. 7

    def _checked(self, time_step: int) -> int:
        """Return a timestep in [0, T): Python would count a negative index from the end."""
        if not 0 <= time_step < len(self):
            raise InputError(f"The timestep {time_step} is out of range.", expected=f"0 to {len(self) - 1}")
        return int(time_step)


class UNetModel(UNet2DModel):
    """`UNet2DModel` as the first design calls it: `model(image, t)` returns the predicted noise, a tensor.

    `from_pretrained` also reads the folders of that time: `config.json` with `ch`, `ch_mult`, ..., and
    `diffusion_model.pt` with the names of the PyTorch port of DDPM.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Self:
        """Load a network, in eval mode, from a folder or a hub; arguments as in `UNet2DModel.from_pretrained`."""
        folder = Path(pretrained_model_name_or_path) / (kwargs.get("subfolder") or "")
        if not (folder / WEIGHTS_NAME).is_file():
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        config = cls.load_config(folder)
        settings = Settings({key: config[key] for key in (*_SETTINGS, "resolution") if key in config}, where=folder)
        network = ddpm.read(settings, open_weights(folder / WEIGHTS_NAME), ema=False).networks[0]
        model = cls.from_config(network.config)
        tensors = apply_rules(network.rules, network.tensors, where=folder / WEIGHTS_NAME)
        fill_layer(model, to_paddle_layout(tensors, model), target_dtype(kwargs.get("paddle_dtype")))
        model.eval()
        return model

    @property
    def in_channels(self) -> int:
        """Channels of an image."""
        return self.config.in_channels

    @property
    def resolution(self) -> int | tuple[int, int] | None:
        """Height and width of an image."""
        return self.config.sample_size

    def forward(self, sample: paddle.Tensor, timestep: paddle.Tensor | float) -> paddle.Tensor:  # [B, C, H, W]
        """Predict the noise of the images `sample`, [B, C, H, W], at a timestep: a number, or a tensor [] or [B]."""
        return super().forward(sample, timestep, return_dict=False)[0]
