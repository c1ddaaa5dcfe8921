"""VQ-Diffusion against diffusers, live: every step, the image, truncation, learned embeddings, conversion.

A step draws codes, and a draw near a tie may fall either way on another machine: whole runs are compared step by step,
each from the original's codes.
"""

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import DiffusionPipeline, VQDiffusionPipeline, VQDiffusionScheduler
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.pipelines.vq_diffusion.learned_embeddings import LearnedClassifierFreeSamplingEmbeddings
from tests.pipelines.support import PROMPTS, assert_images_agree, generators, load_both
from tests.support.parity import assert_close
from tests.support.round_trip import saved_both_ways, there_and_back
from tests.support.vq_diffusion import CODES, SIDE, set_library, tiny_vq_diffusion

MASK, PIXELS = CODES, SIDE * SIDE
FEW = 0.01  # of 600 levels: one that lies between two would be more than the usual 0.1 %


@pytest.fixture(scope="module", params=[True, False], ids=["learned", "empty text"])
def folder(request, tmp_path_factory):
    return tiny_vq_diffusion(tmp_path_factory.mktemp("vq"), learnable=request.param)


@pytest.fixture(scope="module")
def learned_folder(tmp_path_factory):
    return tiny_vq_diffusion(tmp_path_factory.mktemp("vq"))


@pytest.fixture
def both(folder):
    return load_both(folder)


@pytest.fixture
def learned(learned_folder):
    return load_both(learned_folder)


class Recorded:
    """What a pipeline computes in every step: log p(x_0), which of it is left after truncation, and the codes drawn.

    Args:
        follow: codes that replace the sampled ones after each step.
    """

    def __init__(self, pipeline, follow=None):
        self.log_p, self.kept, self.codes, self.follow = [], [], [], follow
        self._step, self._truncate = pipeline.scheduler.step, pipeline.truncate
        pipeline.scheduler.step, pipeline.truncate = self.step, self.truncate

    def truncate(self, log_p, rate):
        self.log_p.append(log_p.numpy())
        truncated = self._truncate(log_p, rate)
        self.kept.append(np.isfinite(truncated.numpy()))
        return truncated

    def step(self, *args, **kwargs):
        output = self._step(*args, **kwargs)
        self.codes.append(output.prev_sample.numpy())
        if self.follow is not None:
            output.prev_sample = paddle.to_tensor(self.follow[len(self.codes) - 1])
        return output


def compare_steps(ours, theirs, seed=3, **settings):
    """Run both, ours from the original's codes at every step; returns (ours, theirs), images [B, H, W, 3]."""
    mine, reference = generators(seed)
    expected = Recorded(theirs)
    their_images = theirs(generator=reference, output_type="np", **settings).images
    found = Recorded(ours, follow=expected.codes)
    our_images = ours(generator=mine, output_type="np", **settings).images
    assert len(found.codes) == len(expected.codes) == settings["num_inference_steps"]
    for step, (log_p, reference_log_p) in enumerate(zip(found.log_p, expected.log_p, strict=True)):
        assert_close(log_p, reference_log_p, what=f"log p(x_0) in step {step}")
    rate = settings.get("truncation_rate", 1.0)
    kept, reference_kept = np.stack(found.kept), np.stack(expected.kept)
    assert kept.all() if rate == 1 else (kept == reference_kept).mean() > 0.998 and not kept.all()
    drawn, reference_drawn = np.stack(found.codes), np.stack(expected.codes)
    assert (drawn != reference_drawn).sum() <= 5  # of 150 to 10000
    assert len(np.unique(reference_drawn)) > CODES // 3  # the draws differ
    return our_images, their_images


# -- the loop ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance_scale", [5.0, 1.0])
def test_the_same_seed_generates_the_same_image(both, guidance_scale):
    ours, theirs = both
    images = compare_steps(ours, theirs, prompt=PROMPTS, num_inference_steps=22, guidance_scale=guidance_scale)
    assert_images_agree(*images, different=FEW)
    assert images[0].shape == (2, 2 * SIDE, 2 * SIDE, 3)
    assert isinstance(ours, VQDiffusionPipeline)


def test_all_steps_and_several_images(learned):
    """Where alpha is nearly 1, at the end of 100 steps, and the order of the images of several prompts."""
    images = compare_steps(*learned, prompt=PROMPTS, num_inference_steps=100, num_images_per_prompt=2)
    assert_images_agree(*images, different=FEW)
    assert images[0].shape[0] == 4


def test_given_codes(learned):
    """Tensors and arrays, of any width of integers."""
    codes = np.random.default_rng(1).integers(0, CODES + 1, (2, PIXELS))
    codes[:, ::2] = MASK
    ours, theirs = learned
    settings = {"prompt": PROMPTS, "num_inference_steps": 1}
    expected, found = Recorded(theirs), Recorded(ours)
    theirs(latents=torch.from_numpy(codes), generator=generators()[1], **settings)
    for given in (codes, paddle.to_tensor(codes), codes.astype(np.int32)):
        ours(latents=given, generator=generators()[0], **settings)
        assert_close(found.log_p[-1], expected.log_p[0])
        assert (found.codes[-1] == expected.codes[0]).mean() > 0.95


@pytest.mark.parametrize("rate", [0.9, 0.7])
def test_truncated_steps(learned, rate):
    """The likelier codes alone are drawn."""
    images = compare_steps(*learned, prompt=PROMPTS, num_inference_steps=22, truncation_rate=rate)
    assert_images_agree(*images, different=FEW)


@pytest.mark.parametrize("rate", [1.0, 0.86, 0.3, 1e-6, 0.0])
def test_truncation(learned, rate):
    ours, theirs = learned
    p = np.random.default_rng(0).dirichlet(np.ones(CODES), (2, 7)).transpose(0, 2, 1)  # [2, codes, 7]
    sums = np.sort(p, axis=1)[:, ::-1].cumsum(axis=1)[:, :-1]
    assert np.abs(sums - rate).min() > 1e-5  # no sum is so near that rounding decides
    log_p = np.log(p).astype(np.float32)
    mine = ours.truncate(paddle.to_tensor(log_p), rate).numpy()
    np.testing.assert_array_equal(mine, theirs.truncate(torch.from_numpy(log_p), rate).numpy())
    np.testing.assert_array_equal(np.isfinite(mine).sum(axis=1), 1 + (sums < rate).sum(axis=1))


def test_truncation_by_hand(learned):
    p = np.array([0.1, 0.4, 0.05, 0.3, 0.15], dtype=np.float32).reshape(1, 5, 1)
    for rate, kept in ((0.75, [1, 3, 4]), (0.69, [1, 3]), (0.1, [1]), (0.86, [0, 1, 3, 4])):
        found = learned[0].truncate(paddle.to_tensor(np.log(p)), rate).numpy()
        assert np.flatnonzero(np.isfinite(found)).tolist() == kept


def test_a_generator_for_each_image(learned):
    """Each image of a batch is the one that its own generator draws alone."""
    ours, _ = learned
    settings = {"num_inference_steps": 3, "output_type": "latent"}
    together = ours(PROMPTS, generator=[4, 9], **settings).images
    for row, (prompt, seed) in enumerate(zip(PROMPTS, (4, 9), strict=True)):
        assert (ours(prompt, generator=seed, **settings).images[0] == together[row]).astype("float32").mean() > 0.9


def test_forms_of_the_result_and_callbacks(learned):
    ours, theirs = learned
    seen, expected = [], []
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 5, "callback_steps": 2}
    images = ours(generator=1, callback=lambda i, t, codes: seen.append((i, int(t), codes.shape)), **settings).images
    theirs(generator=generators(1)[1], callback=lambda i, t, c: expected.append((i, int(t), list(c.shape))), **settings)
    assert seen == expected == [(0, 4, [1, PIXELS]), (2, 2, [1, PIXELS]), (4, 0, [1, PIXELS])]
    assert images[0].size == (2 * SIDE, 2 * SIDE)
    codes = ours(PROMPTS[0], num_inference_steps=2, output_type="latent", return_dict=False)[0]
    assert codes.shape == [1, PIXELS] and int(codes.min()) >= 0 and int(codes.max()) < CODES


def test_a_long_prompt_is_cut_and_said(learned, caplog):
    """The original fails on it: its positions end at 77 tokens."""
    ours, _ = learned
    long = " ".join(["circle"] * 90)
    ours(long, num_inference_steps=1)
    assert "truncated" in caplog.text


def test_half_precision_decode_that_overflows_is_done_again(learned, monkeypatch, caplog, half_kernels):
    """16-bit convolutions do not run on a CPU: the decode is played by one that overflows."""
    ours, _ = learned
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 2, "generator": 0, "output_type": "np"}
    expected = ours(**settings).images
    decode = ours.vqvae.decode

    def overflowing(z, *args, **kwargs):
        if z.dtype == paddle.bfloat16:
            return (paddle.full([1, 3, 2 * SIDE, 2 * SIDE], float("inf"), dtype="bfloat16"),)
        return decode(z, *args, **kwargs)

    monkeypatch.setattr(ours.vqvae, "decode", overflowing)
    ours.vqvae.to(dtype="bfloat16")
    found = ours(**settings).images
    assert "overflows in bfloat16" in caplog.text and "NaN" not in caplog.text
    assert np.abs(found - expected).max() < 0.1


def test_nan_is_said(learned, caplog):
    ours, _ = learned
    ours.transformer.out.bias.set_value(paddle.full_like(ours.transformer.out.bias, float("nan")))
    ours("a", num_inference_steps=2)
    assert "first appeared in: denoising at timestep 1" in caplog.text


# -- bad input --------------------------------------------------------------------------------------------------


def test_bad_calls_list_every_problem(learned):
    ours, _ = learned
    with pytest.raises(InputError) as caught:
        ours(3, 0, truncation_rate=float("nan"), output_type="jpeg", callback=1, callback_steps=0)
    for word in ("`prompt`", "num_inference_steps", "truncation_rate", "output_type", "`callback`", "callback_steps"):
        assert word in str(caught.value)
    codes = np.full((1, PIXELS), MASK)
    for wrong in (codes + 1, codes - CODES - 1, codes.astype(np.float32)):
        with pytest.raises(InputError, match=f"from 0 to {MASK}"):
            ours("a", latents=wrong)
    with pytest.raises(InputError, match=rf"\(2, {PIXELS}\)"):
        ours(PROMPTS, latents=codes)
    with pytest.raises(InputError, match="3 generators for 2"):
        ours(PROMPTS, generator=[1, 2, 3])
    with pytest.raises(InputError, match="101"):
        ours("a", num_inference_steps=101)


def test_components_that_count_other_codes(learned):
    ours, _ = learned
    ours.scheduler = VQDiffusionScheduler(num_vec_classes=CODES)  # the mask was forgotten
    with pytest.raises(InputError, match=f"`num_vec_classes`: {CODES},"):
        ours("a")


def test_learned_embeddings_need_their_size():
    with pytest.raises(ConfigError, match="hidden_size and length"):
        LearnedClassifierFreeSamplingEmbeddings(learnable=True)
    with pytest.raises(ConfigError, match="require length"):
        LearnedClassifierFreeSamplingEmbeddings(learnable=True, hidden_size=8)


def test_learned_embeddings_matter(learned):
    ours, _ = learned
    recorded = Recorded(ours)
    ours("a", num_inference_steps=1, generator=0)
    zeros = paddle.zeros_like(ours.learned_classifier_free_sampling_embeddings.embeddings)
    ours.learned_classifier_free_sampling_embeddings.embeddings.set_value(zeros)
    ours("a", num_inference_steps=1, generator=0)
    assert np.abs(recorded.log_p[0] - recorded.log_p[1]).max() > 1e-3


# -- conversion -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["vq_diffusion", "diffusers", "deprecated", "diffusers.pipelines.vq_diffusion"])
def test_every_form_of_the_index(tmp_path, library):
    folder = tiny_vq_diffusion(tmp_path)
    set_library(folder, library)
    ours = DiffusionPipeline.from_pretrained(folder)
    assert isinstance(ours.learned_classifier_free_sampling_embeddings, LearnedClassifierFreeSamplingEmbeddings)


def test_converted_round_trip(folder, tmp_path):
    paddle_folder, torch_folder = there_and_back(folder, tmp_path)
    ours = DiffusionPipeline.from_pretrained(paddle_folder)
    for saved in (torch_folder, saved_both_ways(ours, tmp_path)[1]):
        ours = DiffusionPipeline.from_pretrained(tmp_path / "saved" if saved != torch_folder else paddle_folder)
        theirs = diffusers.VQDiffusionPipeline.from_pretrained(saved)
        assert_images_agree(*compare_steps(ours, theirs, prompt=PROMPTS, num_inference_steps=3), different=FEW)
