"""Arrays of schedulers as tensors, and timesteps in every form, against diffusers."""

from __future__ import annotations

import copy
import inspect
import pickle

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import TorchGenerator, registry
from ppdiffusers.core.errors import InputError
from tests.schedulers.parity import SHAPE, make, network, takes
from tests.support.parity import assert_close, noise

NAMES = sorted(entry.name for entry in registry.entries("scheduler") if entry.has_original)
SPECIAL_LOOP = {
    "KarrasVeScheduler",
    "ScoreSdeVeScheduler",
    "ScoreSdeVpScheduler",
    "RePaintScheduler",
    "VQDiffusionScheduler",
}
STEPPERS = [name for name in NAMES if name not in SPECIAL_LOOP]
CONFIGS = {"VQDiffusionScheduler": {"num_vec_classes": 5}, "PNDMScheduler": {"skip_prk_steps": True}}
ARRAYS = (
    "timesteps",
    "sigmas",
    "betas",
    "alphas",
    "alphas_cumprod",
    "final_alpha_cumprod",
    "initial_alpha_cumprod",
    "init_noise_sigma",
    "alpha_t",
    "sigma_t",
    "lambda_t",
    "schedule",
    "discrete_sigmas",
    "log_at",
    "log_bt",
    "log_ct",
    "log_cumprod_at",
    "log_cumprod_bt",
    "log_cumprod_ct",
)
# The reference keeps the float64 of numpy here; networks read float32.
FLOAT64_TIMESTEPS = {
    "DPMSolverSDEScheduler",
    "CMStochasticIterativeScheduler",
    "EulerAncestralDiscreteScheduler",
}
X = noise(SHAPE)
OUTPUT = network(X, 1)


@pytest.mark.parametrize("name", NAMES)
def test_public_arrays_are_tensors_like_those_of_diffusers(name: str) -> None:
    ours, theirs = make(name, CONFIGS.get(name, {}))
    for steps in (None, 10):
        if steps:
            ours.set_timesteps(steps)
            theirs.set_timesteps(steps)
        for key in ARRAYS:
            expected = getattr(theirs, key, None)
            found = getattr(ours, key, None)
            if not isinstance(expected, torch.Tensor):
                assert not isinstance(found, paddle.Tensor) or expected is not None, key
                continue
            assert isinstance(found, paddle.Tensor), key
            assert tuple(found.shape) == tuple(expected.shape), key
            dtype = str(expected.dtype).removeprefix("torch.")
            dtype = "float32" if key == "timesteps" and name in FLOAT64_TIMESTEPS else dtype
            assert str(found.dtype) == f"paddle.{dtype}", key
            # 1 - beta^2 cancels at the noisy end of IPNDM, as timesteps do at the clean end
            atol = {"timesteps": 1e-4, "alphas": 1e-5}.get(key, 1e-6)
            np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=atol, err_msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_expressions_of_scripts_run(name: str) -> None:
    """Each expression of public scripts gives what it gives in diffusers."""
    ours, theirs = make(name, CONFIGS.get(name, {}))
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(6)
    if isinstance(theirs.timesteps, torch.Tensor):
        assert_timesteps_work(ours.timesteps)
        tiled = theirs.timesteps[:1].tile([2])
        np.testing.assert_allclose(ours.timesteps[:1].tile([2]), tiled, 1e-4)
        assert ours.timesteps[1].expand([3]).shape == list(theirs.timesteps[1].expand([3]).shape) == [3]
    if hasattr(theirs, "init_noise_sigma"):
        assert float(ours.init_noise_sigma) == pytest.approx(float(theirs.init_noise_sigma), rel=1e-5)
        if isinstance(theirs.init_noise_sigma, torch.Tensor):
            assert ours.init_noise_sigma.item() == pytest.approx(theirs.init_noise_sigma.item(), rel=1e-5)
    for key in ("alphas_cumprod", "sigmas"):
        reference = getattr(theirs, key, None)
        if isinstance(reference, torch.Tensor):
            assert_array_works(getattr(ours, key), reference)


def assert_timesteps_work(timesteps: paddle.Tensor) -> None:
    second = timesteps[1]
    assert (timesteps == second).nonzero()[0].item() == timesteps.tolist().index(float(second))
    assert timesteps.to("float32").dtype == paddle.float32 and timesteps.to("cpu").place.is_cpu_place()
    assert timesteps.cast("int64").dtype == paddle.int64 and timesteps.numpy().shape == tuple(timesteps.shape)
    assert [float(t) for t in timesteps] == timesteps.tolist()
    assert second.unsqueeze(-1).shape == [1] and timesteps[second.cast("int64") * 0].shape == []


def assert_array_works(array: paddle.Tensor, reference: torch.Tensor) -> None:
    index = paddle.to_tensor([3, 5])
    assert_close(array[index], reference[[3, 5]], 1e-5)
    assert_close(array[index[0]].unsqueeze(-1), reference[3].unsqueeze(-1), 1e-5)
    assert array.cast("float64").dtype == paddle.float64 and array.to("float64").dtype == paddle.float64
    assert_close(array.numpy(), reference.numpy(), 1e-5)
    assert array[3].expand([2]).shape == [2] and array[:1].tile([2]).shape == [2]


def test_inversion_scripts_index_the_alphas() -> None:
    scheduler = ppdiffusers.DDIMScheduler()
    scheduler.set_timesteps(4)
    t = scheduler.timesteps[1]
    prev_t = t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    alpha = scheduler.alphas_cumprod[prev_t] if prev_t >= 0 else scheduler.final_alpha_cumprod
    assert float(alpha) == pytest.approx(float(scheduler.alphas_cumprod.numpy()[int(prev_t)]))


def step(scheduler: object, t: object, tensor: object) -> np.ndarray:
    arguments = {}
    if takes(scheduler.step, "generator"):
        arguments["generator"] = TorchGenerator(3) if tensor is paddle.to_tensor else torch.Generator().manual_seed(3)
    if hasattr(scheduler, "noise_sampler"):
        arguments["s_noise"] = 0.0
    return scheduler.step(tensor(OUTPUT), t, tensor(X), **arguments).prev_sample.numpy()


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"])
@pytest.mark.parametrize("how", ["assigned", "numpy", "in place"])
def test_assigned_arrays_are_used(name: str, how: str) -> None:
    ours, theirs = make(name, {})
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(5)
    if how == "in place":
        for scheduler in (ours, theirs):
            scheduler.sigmas[1] = 0.7
            scheduler.timesteps[0] = 42
    else:
        sigmas = ours.sigmas * 0.9
        ours.sigmas = sigmas if how == "assigned" else sigmas.numpy()
        theirs.sigmas = torch.from_numpy(sigmas.numpy())
        timesteps = (ours.timesteps // 2).astype(ours.timesteps.dtype)
        ours.timesteps = timesteps if how == "assigned" else timesteps.numpy()
        theirs.timesteps = torch.from_numpy(timesteps.numpy())
        assert isinstance(ours.timesteps, paddle.Tensor)
    first = step(ours, ours.timesteps[0], paddle.to_tensor), step(theirs, theirs.timesteps[0], torch.from_numpy)
    assert_close(first[0], first[1], 1e-5)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_assigned_alphas_change_the_following_schedule(name: str) -> None:
    ours, theirs = make(name, {})
    cast = ours.alphas_cumprod.cast("float32") * 0.98  # training scripts move and cast it
    ours.alphas_cumprod = cast
    theirs.alphas_cumprod = torch.from_numpy(cast.numpy())
    assert ours.alphas_cumprod is cast
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(5)
    if hasattr(theirs, "sigmas"):
        assert_close(ours.sigmas, theirs.sigmas, 1e-5)
    result = step(ours, ours.timesteps[0], paddle.to_tensor)
    assert_close(result, step(theirs, theirs.timesteps[0], torch.from_numpy), 1e-5)
    ours.alphas_cumprod[-1] = 2.0**-24  # in place, as scripts for a zero terminal SNR do
    assert float(ours.host_alphas_cumprod[-1]) == float(ours.noise_schedule.alphas_cumprod[-1]) == 2.0**-24


def test_half_precision_assignments_are_read_as_float32() -> None:
    scheduler = ppdiffusers.DDPMScheduler()
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.astype("bfloat16")
    assert scheduler.alphas_cumprod.dtype == paddle.bfloat16
    assert scheduler.host_alphas_cumprod.dtype == np.float32
    assert np.allclose(scheduler.host_alphas_cumprod, ppdiffusers.DDPMScheduler().host_alphas_cumprod, atol=4e-3)


def test_host_copies_cannot_be_assigned() -> None:
    scheduler = ppdiffusers.DDIMScheduler()
    with pytest.raises(AttributeError, match="Assign to `timesteps`"):
        scheduler.host_timesteps = np.arange(3)


def test_copies_do_not_share_arrays() -> None:
    original = ppdiffusers.EulerDiscreteScheduler()
    original.set_timesteps(5)
    assert original.sigmas is original.sigmas  # created once
    before = original.sigmas.numpy()
    for copied in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        copied.sigmas[0] = 1.0
        assert copied.host_sigmas[0] == 1.0
        assert (copied.timesteps == original.timesteps).all()
    assert (original.host_sigmas == before).all() and (original.sigmas.numpy() == before).all()


def forms(value: float, integer: bool) -> list[tuple[object, object]]:
    """The same timestep as a number, an array and a tensor: pairs for both libraries."""
    kind = np.dtype("int64" if integer else "float32")
    number, scalar = (int(value) if integer else float(value)), kind.type(value)
    arrays = [np.array(value, kind), np.array([value], kind)]
    tensors = [(torch.from_numpy(array), paddle.to_tensor(array)) for array in arrays]
    return [(number, number), (scalar, scalar), *((array, array) for array in arrays), *tensors]


def both_steps(name: str, steps: int | None, position: int, offset: float, form: int) -> tuple[object, object]:
    """A step of both libraries at an element of the schedule plus an offset; a library that raises gives its error."""
    ours, theirs = make(name, CONFIGS.get(name, {}))
    results: list[object] = []
    for scheduler, tensor in ((ours, paddle.to_tensor), (theirs, torch.from_numpy)):
        if steps:
            scheduler.set_timesteps(steps)
        value, integer = 500.0, True  # before set_timesteps, PNDM has none
        if scheduler.timesteps is not None:
            value = float(scheduler.timesteps[position]) + offset
            integer = "int" in str(scheduler.timesteps.dtype)
        t = forms(value, integer)[form][scheduler is ours]
        try:
            results.append(step(scheduler, t, tensor))
        except (ValueError, IndexError, TypeError, AttributeError, RuntimeError) as error:
            results.append(error)
    return results[0], results[1]


def assert_same_result(results: tuple[object, object], what: str) -> None:
    ours, theirs = results
    if isinstance(theirs, Exception):  # what the reference refuses may work, and raises our error where it does not
        assert not isinstance(ours, Exception) or isinstance(ours, InputError), what
    else:
        assert not isinstance(ours, Exception), f"{what}: {ours}"
        assert_close(ours, theirs, 1e-4, what)


@pytest.mark.parametrize("name", STEPPERS)
def test_step_in_every_form_of_timestep_equals_diffusers(name: str) -> None:
    for form in range(6):
        assert_same_result(both_steps(name, 7, 4, 0, form), f"form {form}")


@pytest.mark.parametrize("name", STEPPERS)
def test_step_before_set_timesteps_equals_diffusers(name: str) -> None:
    assert_same_result(both_steps(name, None, 4, 0, 0), name)


@pytest.mark.parametrize(
    "name",
    [
        *("LMSDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
        *("HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "UnCLIPScheduler"),
        *("CMStochasticIterativeScheduler", "IPNDMScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"),
    ],
)
def test_schedulers_that_start_with_the_training_schedule(name: str) -> None:
    ours, theirs = both_steps(name, None, 4, 0, 0)
    assert not isinstance(theirs, Exception)
    assert_close(ours, theirs, 1e-4)


@pytest.mark.parametrize("name", STEPPERS)
def test_step_at_an_unknown_timestep_equals_diffusers(name: str) -> None:
    assert_same_result(both_steps(name, 7, 4, 1, 0), name)


# of diffusers' classes these have no `add_noise`, or one that is not implemented or has other arguments
WITHOUT_ADD_NOISE = {
    *("DDIMInverseScheduler", "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "IPNDMScheduler"),
    *("KarrasVeScheduler", "RePaintScheduler", "ScoreSdeVpScheduler", "VQDiffusionScheduler"),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_ADD_NOISE])
@pytest.mark.parametrize("steps", [None, 7])
def test_add_noise_at_an_unknown_timestep_equals_diffusers(name: str, steps: int | None) -> None:
    """Where diffusers does not find the timestep (an IndexError), the error says so."""
    ours, theirs = make(name, CONFIGS.get(name, {}))
    if steps:
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
    x, eps = noise(SHAPE, "x"), noise(SHAPE, "eps")
    for t in ([3, 17], [3, 3]):
        t = np.array(t)
        try:
            expected = theirs.add_noise(torch.from_numpy(x), torch.from_numpy(eps), torch.from_numpy(t))
        except IndexError:
            with pytest.raises(InputError, match="not in the schedule"):
                ours.add_noise(paddle.to_tensor(x), paddle.to_tensor(eps), t)
            continue
        for form in (t, paddle.to_tensor(t), t.tolist()):
            assert_close(ours.add_noise(paddle.to_tensor(x), paddle.to_tensor(eps), form), expected, 1e-5)


@pytest.mark.parametrize("name", ["DDIMParallelScheduler", "DDPMParallelScheduler"])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"prediction_type": "v_prediction", "clip_sample": False},
        {"prediction_type": "sample", "thresholding": True},
    ],
)
@pytest.mark.parametrize("steps", [None, 10])
def test_batched_steps_equal_diffusers(name: str, config: dict, steps: int | None) -> None:
    ours, theirs = make(name, config)
    if steps:
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
    t = np.array([0, 900] if steps else [0, 37])
    if name.startswith("DDIM") and not steps:
        with pytest.raises(InputError, match="set_timesteps"):
            ours.batch_step_no_noise(paddle.to_tensor(OUTPUT), t, paddle.to_tensor(X))
        return
    expected = theirs.batch_step_no_noise(torch.from_numpy(OUTPUT), torch.from_numpy(t), torch.from_numpy(X))
    for form in (t, paddle.to_tensor(t), t.tolist()):
        result = ours.batch_step_no_noise(paddle.to_tensor(OUTPUT), form, paddle.to_tensor(X))
        assert_close(result, expected, 1e-5)
    if name.startswith("DDIM"):
        arguments = {"use_clipped_model_output": True}
        expected = theirs.batch_step_no_noise(
            torch.from_numpy(OUTPUT), torch.from_numpy(t), torch.from_numpy(X), **arguments
        )
        result = ours.batch_step_no_noise(paddle.to_tensor(OUTPUT), t, paddle.to_tensor(X), **arguments)
        assert_close(result, expected, 1e-5)
        with pytest.raises(InputError, match="eta=0"):
            ours.batch_step_no_noise(paddle.to_tensor(OUTPUT), t, paddle.to_tensor(X), eta=0.5)
    for wrong in ([1, 2, 3], [0, 1000], [-1, 3]):
        with pytest.raises(InputError, match="timesteps"):
            ours.batch_step_no_noise(paddle.to_tensor(OUTPUT), wrong, paddle.to_tensor(X))


def test_ddpm_parallel_with_a_learned_variance() -> None:
    ours, theirs = make("DDPMParallelScheduler", {"variance_type": "learned_range"})
    t, output = np.array([20, 999]), network(X, 3, 2)
    expected = theirs.batch_step_no_noise(torch.from_numpy(output), torch.from_numpy(t), torch.from_numpy(X))
    assert_close(ours.batch_step_no_noise(paddle.to_tensor(output), t, paddle.to_tensor(X)), expected, 1e-5)


def test_spellings_of_ppdiffusers_029() -> None:
    scheduler = ppdiffusers.DDIMInverseScheduler()
    scheduler.set_timesteps(5)
    x, output, t = paddle.to_tensor(X), paddle.to_tensor(OUTPUT), scheduler.timesteps[2]
    plain = scheduler.step(output, t, x).prev_sample
    old = scheduler.step(output, t, x, eta=0.0, use_clipped_model_output=False, variance_noise=None)
    assert (old.prev_sample == plain).all()


@pytest.mark.parametrize(
    "name", ["DPMSolverMultistepScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler", "SASolverScheduler"]
)
def test_predictions_are_converted_as_in_diffusers(name: str) -> None:
    ours, theirs = make(name, {"prediction_type": "v_prediction"})
    for scheduler, tensor in ((ours, paddle.to_tensor), (theirs, torch.from_numpy)):
        scheduler.set_timesteps(5)
        step(scheduler, scheduler.timesteps[0], tensor)
    mine = ours.convert_model_output(paddle.to_tensor(OUTPUT), sample=paddle.to_tensor(X))
    expected = theirs.convert_model_output(torch.from_numpy(OUTPUT), sample=torch.from_numpy(X))
    assert_close(mine, expected, 1e-5)
    fresh = getattr(ppdiffusers, name)()
    with pytest.raises(InputError, match="position in the schedule"):
        fresh.convert_model_output(paddle.to_tensor(OUTPUT), sample=paddle.to_tensor(X))
    with pytest.raises(InputError, match="together with its sample"):
        ours.convert_model_output(paddle.to_tensor(OUTPUT))


@pytest.mark.parametrize("name", NAMES)
def test_leading_positional_arguments_are_those_of_diffusers(name: str) -> None:
    theirs = getattr(diffusers, name, None) or getattr(diffusers.schedulers.deprecated, name)
    for method in ("step", "step_pred", "step_correct", "set_timesteps", "add_noise", "scale_model_input"):
        if name in ("RePaintScheduler", "KarrasVeScheduler") and method == "add_noise":
            continue  # the reference raises
        reference = getattr(theirs, method, None)
        if reference is not None:
            expected = [
                key
                for key, p in inspect.signature(reference).parameters.items()
                if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
            ]
            mine = list(inspect.signature(getattr(getattr(ppdiffusers, name), method)).parameters)
            assert mine[: len(expected)] == expected, method
