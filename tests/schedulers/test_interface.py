"""The common interface of schedulers: files, exchanged configurations, training helpers, dtypes and errors."""

from __future__ import annotations

import ast
import inspect
import json
import pathlib
import warnings

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import registry
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.schedulers.common.multistep import LogSNRSolver
from tests.schedulers.parity import SHAPE, make, network
from tests.support.parity import assert_close, noise

PACKAGE = pathlib.Path(inspect.getfile(ppdiffusers)).parent / "schedulers"
SPECIAL_LOOP = {
    "KarrasVeScheduler",
    "ScoreSdeVeScheduler",
    "ScoreSdeVpScheduler",
    "RePaintScheduler",
    "VQDiffusionScheduler",
}
NAMES = sorted(
    node.name
    for path in PACKAGE.glob("scheduling_*.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef) and node.name.endswith("Scheduler")
)
OURS_ALONE = [entry.name for entry in registry.entries("scheduler") if not entry.has_original]
ALL_NAMES, NAMES = NAMES, [name for name in NAMES if name not in OURS_ALONE]
EXCHANGEABLE = [entry.name for entry in registry.entries("scheduler") if entry.exchangeable]
STEPPERS = [name for name in NAMES if name not in SPECIAL_LOOP]
# Schedulers whose number of steps is not limited by the training timesteps.
UNLIMITED_STEPS = {
    "GradTTSScheduler",
    "EDMDPMSolverMultistepScheduler",
    "EDMEulerScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "IPNDMScheduler",
    "KarrasVeScheduler",
    "RePaintScheduler",
    "ScoreSdeVeScheduler",
    "ScoreSdeVpScheduler",
}
REQUIRED = {"VQDiffusionScheduler": {"num_vec_classes": 5}}


def test_all_schedulers_are_public() -> None:
    assert len(ALL_NAMES) == 35
    assert all(hasattr(ppdiffusers, name) for name in ALL_NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_and_defaults_equal_diffusers(name: str) -> None:
    theirs = getattr(diffusers, name, None) or getattr(diffusers.schedulers.deprecated, name)
    ours = inspect.signature(getattr(ppdiffusers, name).__init__).parameters
    for key, parameter in inspect.signature(theirs.__init__).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        assert key in ours, f"{name} has no argument {key}"
        mine, reference = ours[key].default, parameter.default
        same = list(mine) == reference if isinstance(reference, list) else mine == reference
        assert same, f"{name}: {key} defaults to {mine!r}, reference {reference!r}"


@pytest.mark.parametrize("name", NAMES)
def test_saved_files_load_in_both_libraries(name: str, tmp_path: pathlib.Path) -> None:
    ours, theirs = make(name, REQUIRED.get(name, {}))
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    back = type(theirs).from_pretrained(tmp_path / "ours")
    mine = type(ours).from_pretrained(tmp_path / "theirs")
    known = type(ours).init_parameters()
    for key in known:
        left, right = mine.config[key], ours.config[key]
        assert left == right or list(left) == list(right), key
    written = json.loads((tmp_path / "ours" / "scheduler_config.json").read_text())
    assert written["_class_name"] == name
    assert {k for k in back.config if not k.startswith("_")} >= set(known) - {"tau_func"}


@pytest.mark.parametrize("source", sorted(EXCHANGEABLE))
def test_exchangeable_schedulers_are_created_from_each_other(source: str) -> None:
    source_scheduler = getattr(ppdiffusers, source)(beta_start=0.001, num_train_timesteps=200)
    targets = source_scheduler.compatibles
    assert {target.__name__ for target in targets} == {*EXCHANGEABLE, "EDMEulerScheduler"}
    for target in targets:
        made = target.from_config(source_scheduler.config)
        assert made.config.beta_start == 0.001
        assert made.config.num_train_timesteps == 200


def test_legacy_configurations_load() -> None:
    old = {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.2.2",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "skip_prk_steps": True,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "tensor_format": "pt",
        "trained_betas": None,
    }
    for name in EXCHANGEABLE:
        made = getattr(ppdiffusers, name).from_config(old)
        assert made.config.beta_schedule == "scaled_linear"
    oldest = {"_diffusers_version": "0.0.4", "timesteps": 500, "timestep_values": None}
    assert ppdiffusers.DDIMScheduler.from_config(oldest).config.num_train_timesteps == 500
    resaved = {**oldest, "num_train_timesteps": 1000, "timestep_values": [1]}  # as later releases save it
    assert ppdiffusers.DDIMScheduler.from_config(resaved).config.num_train_timesteps == 1000
    assert ppdiffusers.DDIMScheduler.from_config({"predict_epsilon": False}).config.prediction_type == "sample"
    assert ppdiffusers.DDIMScheduler.from_config({"predict_epsilon": True}).config.prediction_type == "epsilon"


def test_configurations_of_dpm_solver_without_a_variance_type_load() -> None:
    config = dict(diffusers.DPMSolverMultistepScheduler().config)
    assert config["variance_type"] is None
    for key in ("_use_default_values", "solver_type", "algorithm_type"):  # as in a saved file, with default names
        config.pop(key)
    made = ppdiffusers.DDPMScheduler.from_config(config)
    assert made.config.variance_type is None


def test_unknown_configuration_keys_warn_unless_they_are_off(caplog) -> None:
    ppdiffusers.EulerDiscreteScheduler.from_config({"use_future_sigmas": False, "skip_prk_steps": True})
    assert not caplog.records
    made = ppdiffusers.EulerDiscreteScheduler.from_config({"use_future_sigmas": True})
    assert "use_future_sigmas=True" in caplog.text and made.config.use_future_sigmas is True


@pytest.mark.parametrize("name", sorted(entry.name for entry in registry.entries("scheduler")))
def test_compatible_classes_attributes_and_repr_equal_diffusers(name: str) -> None:
    settings = {"num_vec_classes": 4} if name == "VQDiffusionScheduler" else {}
    original = getattr(diffusers, name, None)
    if original is None:  # diffusers moved it and gives it no compatible classes
        assert getattr(ppdiffusers, name)(**settings).compatibles == [getattr(ppdiffusers, name)]
        return
    ours, theirs = (getattr(library, name)(**settings) for library in (ppdiffusers, diffusers))
    assert {one.__name__ for one in ours.compatibles} == {one.__name__ for one in theirs.compatibles}
    shown, expected = (json.loads(repr(one).removeprefix(f"{name} ")) for one in (ours, theirs))
    assert shown.pop("_ppdiffusers_version") and expected.pop("_diffusers_version")
    expected.pop("tau_func", None)  # a function
    assert shown.items() >= expected.items()
    for key in ours.init_parameters():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            assert hasattr(ours, key), key
    assert type(ours)(**ours.config).config == ours.config
    assert ours.config._class_name == name and type(ours)._deprecated_kwargs == tuple(original._deprecated_kwargs)


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_configuration_equals_the_saved_one(name: str, tmp_path: pathlib.Path) -> None:
    scheduler = getattr(ppdiffusers, name)(**REQUIRED.get(name, {}))
    scheduler.save_pretrained(tmp_path)
    saved = dict(scheduler.config)
    saved.pop("_use_default_values", None)
    saved.pop("tau_func", None)  # a function
    loaded = dict(type(scheduler).from_pretrained(tmp_path).config)
    loaded.pop("tau_func", None)
    assert loaded.pop("_use_default_values", None) in (None, ["tau_func"])
    assert loaded == saved


STEPS_OF_VARIANCES = [(980, 960), (420, 400), (1, 0)]


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDIMParallelScheduler"])
def test_variances_of_ddim_equal_diffusers(name: str) -> None:
    ours, theirs = make(name, {"set_alpha_to_one": False})
    for t, before in STEPS_OF_VARIANCES:
        assert_close(ours._get_variance(paddle.to_tensor(t), before), theirs._get_variance(t, before), 1e-5)
    if name == "DDIMParallelScheduler":
        ours.set_timesteps(10)
        theirs.set_timesteps(10)
        assert_close(ours._get_variance(300), theirs._get_variance(300), 1e-5)


@pytest.mark.parametrize("kind", ["fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned_range"])
@pytest.mark.parametrize("name", ["DDPMScheduler", "UnCLIPScheduler"])
def test_variances_of_ddpm_equal_diffusers(name: str, kind: str) -> None:
    ours, theirs = make(name, {})
    predicted = noise(SHAPE)
    for t in (1, 487, 970):
        expected = theirs._get_variance(t, predicted_variance=torch.from_numpy(predicted), variance_type=kind)
        found = ours._get_variance(t, predicted_variance=paddle.to_tensor(predicted), variance_type=kind)
        if name == "DDPMScheduler" or kind in ("fixed_small", "fixed_small_log", "learned_range"):
            assert_close(found, expected, 1e-5)
    with pytest.raises(InputError, match="predicted"):
        ours._get_variance(3, variance_type="learned_range")


def test_an_unknown_variance_type_is_the_posterior_with_a_warning(caplog) -> None:
    ours, theirs = make("DDPMScheduler", {"variance_type": "other"})
    assert "variance_type='other' is unknown" in caplog.text
    assert_close(ours._get_variance(487), theirs._get_variance(487), 1e-5)
    x = paddle.to_tensor(noise(SHAPE))
    known = ppdiffusers.DDPMScheduler()
    assert_close(ours.step(x, 487, x, generator=1).prev_sample, known.step(x, 487, x, generator=1).prev_sample, 0)


@pytest.mark.parametrize("name", ["DDPMScheduler", "DDPMParallelScheduler", "LCMScheduler", "TCDScheduler"])
def test_previous_timesteps_equal_diffusers(name: str) -> None:
    ours, theirs = make(name, {})
    assert ours.previous_timestep(500) == theirs.previous_timestep(500) == 499
    ours.set_timesteps(timesteps=[999, 759, 19])
    theirs.set_timesteps(timesteps=[999, 759, 19])
    for t in (999, 759, 19):
        assert ours.previous_timestep(paddle.to_tensor(t)).item() == theirs.previous_timestep(t).item()


def test_ddim_inversion_accepts_the_arguments_of_ddim(caplog) -> None:
    with pytest.warns(FutureWarning, match="set_alpha_to_one"):
        scheduler = ppdiffusers.DDIMInverseScheduler(set_alpha_to_zero=False, thresholding=True)
    assert scheduler.config.set_alpha_to_one is False and "no effect: thresholding" in caplog.text
    scheduler.set_timesteps(10)
    x = paddle.to_tensor(noise(SHAPE))
    expected = scheduler.step(x, 100, x).prev_sample
    assert_close(scheduler.step(x, 100, x, 0.0).prev_sample, expected, 0)  # eta, as in ppdiffusers 0.29
    assert isinstance(scheduler.step(x, 100, x, False), tuple)


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "DEISMultistepScheduler"])
def test_assigned_predictions_do_not_raise_the_order_of_the_first_step(name: str) -> None:
    ours, theirs = make(name, {"solver_order": 3})
    x, past = noise(SHAPE), [noise(SHAPE, key) for key in "abc"]
    for scheduler, tensor in ((ours, paddle.to_tensor), (theirs, torch.from_numpy)):
        scheduler.set_timesteps(20)
        scheduler.model_outputs = [tensor(one) for one in past]
    for t in ours.host_timesteps[:4]:
        output = network(x, 1)
        expected = theirs.step(torch.from_numpy(output), int(t), torch.from_numpy(x)).prev_sample
        found = ours.step(paddle.to_tensor(output), t, paddle.to_tensor(x)).prev_sample
        assert_close(found, expected, 1e-5)
        assert ours.lower_order_nums == theirs.lower_order_nums
        x = found.numpy()


@pytest.mark.parametrize(
    "name",
    ["DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "LCMScheduler", "TCDScheduler", "SASolverScheduler"],
)
def test_add_noise_at_training_timesteps(name: str) -> None:
    ours, theirs = make(name, {})
    x, eps, t = noise(SHAPE, "x"), noise(SHAPE, "eps"), np.array([3, 977])
    expected = theirs.add_noise(torch.from_numpy(x), torch.from_numpy(eps), torch.from_numpy(t))
    for steps in (t, paddle.to_tensor(t)):
        assert_close(ours.add_noise(paddle.to_tensor(x), paddle.to_tensor(eps), steps), expected, 1e-5)
    if hasattr(theirs, "get_velocity"):
        expected = theirs.get_velocity(torch.from_numpy(x), torch.from_numpy(eps), torch.from_numpy(t))
        assert_close(ours.get_velocity(paddle.to_tensor(x), paddle.to_tensor(eps), t), expected, 1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "LMSDiscreteScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "UniPCMultistepScheduler",
        "DEISMultistepScheduler",
    ],
)
@pytest.mark.parametrize("begin", [None, 4])
def test_add_noise_at_timesteps_of_the_run(name: str, begin: int | None) -> None:
    ours, theirs = make(name, {})
    ours.set_timesteps(10)
    theirs.set_timesteps(10)
    if begin is not None:
        ours.set_begin_index(begin)
        theirs.set_begin_index(begin)
    x, eps = noise(SHAPE, "x"), noise(SHAPE, "eps")
    expected = theirs.add_noise(torch.from_numpy(x), torch.from_numpy(eps), theirs.timesteps[[4, 7]])
    assert_close(ours.add_noise(paddle.to_tensor(x), paddle.to_tensor(eps), ours.timesteps[[4, 7]]), expected, 1e-5)


@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 1.5e-2)])
def test_16_bit_samples_keep_their_dtype(name: str, dtype: str, tolerance: float) -> None:
    ours, theirs = make(name, {})
    ours.set_timesteps(5)
    theirs.set_timesteps(5)
    x, output = noise(SHAPE), network(noise(SHAPE), 1)
    kind = getattr(torch, dtype)
    theirs.scale_model_input(torch.from_numpy(x).to(kind), theirs.timesteps[0])
    expected = theirs.step(torch.from_numpy(output).to(kind), theirs.timesteps[0], torch.from_numpy(x).to(kind))
    a, b = (paddle.to_tensor(v).astype(dtype) for v in (output, x))
    result = ours.step(a, ours.timesteps[0], b).prev_sample
    assert str(result.dtype) == f"paddle.{dtype}"
    assert_close(result, expected.prev_sample, tolerance)


@pytest.mark.parametrize("name", STEPPERS + OURS_ALONE)
def test_invalid_calls_raise(name: str) -> None:
    scheduler = getattr(ppdiffusers, name)()
    with pytest.raises(InputError, match="set_timesteps needs a number|takes exactly one of"):
        scheduler.set_timesteps(0)
    scheduler.set_timesteps(10)
    x, wrong = paddle.to_tensor(noise(SHAPE)), paddle.to_tensor(noise((2, 3, 5, 6)))
    with pytest.raises(InputError, match="different shapes"):
        scheduler.step(wrong, scheduler.timesteps[0], x)
    if not isinstance(scheduler, LogSNRSolver):  # these end at an unknown timestep, as in diffusers
        with pytest.raises(InputError, match="not in the schedule|outside the training range"):
            scheduler.step(x, np.float32(123456.5) if scheduler.host_timesteps.dtype.kind == "f" else 123456, x)


X, WRONG = noise(SHAPE), noise((2, 3, 5, 6))
CODES = np.zeros((2, 7), dtype=np.int64)
# scheduler -> valid calls, then calls with a wrong shape or time
SPECIAL_CALLS = {
    "KarrasVeScheduler": (
        [("step", X, 1.0, 0.5, X), ("step_correct", X, 1.0, 0.5, X, X, X), ("add_noise_to_input", X, 1.0)],
        [("step", WRONG, 1.0, 0.5, X), ("step_correct", WRONG, 1.0, 0.5, X, X, X)],
    ),
    "ScoreSdeVeScheduler": (
        [("step_pred", X, 1.0, X), ("step_correct", X, X)],
        [("step_pred", WRONG, 1.0, X), ("step_correct", WRONG, X), ("step_pred", X, 7.0, X)],
    ),
    "ScoreSdeVpScheduler": ([("step_pred", X, X, 0.5)], [("step_pred", WRONG, X, 0.5)]),
    "RePaintScheduler": (
        [("step", X, 100, X, X, X), ("undo_step", X, 100)],
        [
            ("step", WRONG, 100, X, X, X),
            ("step", X, 100, X, X, WRONG),
            ("step", X, 5000, X, X, X),
            ("undo_step", X, 5000),
        ],
    ),
    "VQDiffusionScheduler": (
        [("step", np.zeros((2, 4, 7), np.float32), 3, CODES)],
        [
            ("step", np.zeros((2, 5, 7), np.float32), 3, CODES),
            ("step", np.zeros((2, 4, 6), np.float32), 3, CODES),
            ("step", np.zeros((2, 4, 7), np.float32), 5000, CODES),
        ],
    ),
}


# The others begin with the training schedule, or get the noise levels of a step as arguments.
NEED_STEPS = {"ScoreSdeVpScheduler", "RePaintScheduler"}


def _call(scheduler: object, method: str, *arguments: object) -> None:
    getattr(scheduler, method)(*(paddle.to_tensor(a) if isinstance(a, np.ndarray) else a for a in arguments))


@pytest.mark.parametrize("name", sorted(SPECIAL_LOOP))
def test_invalid_calls_of_schedulers_with_a_special_loop_raise(name: str) -> None:
    scheduler = getattr(ppdiffusers, name)(**REQUIRED.get(name, {}))
    good, bad = SPECIAL_CALLS[name]
    for call in good:
        if name in NEED_STEPS or call[0] == "add_noise_to_input":
            with pytest.raises(InputError, match="set_timesteps"):
                _call(scheduler, *call)
        else:
            _call(scheduler, *call)
    for steps in (0, -1, 2.5):
        with pytest.raises(InputError, match="set_timesteps needs a number"):
            scheduler.set_timesteps(steps)
    scheduler.set_timesteps(10)
    for call in good:
        _call(scheduler, *call)
    for call in bad:
        with pytest.raises(
            InputError, match="different shapes|does not match|outside the training range|not in the schedule"
        ):
            _call(scheduler, *call)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_more_steps_than_training_timesteps_raise(name: str) -> None:
    scheduler = getattr(ppdiffusers, name)(**REQUIRED.get(name, {}))
    many = getattr(scheduler.config, "num_train_timesteps", 1000) + 1
    if name in UNLIMITED_STEPS:
        scheduler.set_timesteps(many)
        return
    with pytest.raises(InputError, match="more than the model's training timesteps"):
        scheduler.set_timesteps(many)


@pytest.mark.parametrize("name", STEPPERS + OURS_ALONE)
def test_step_reads_no_tensor_back_to_the_host(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = getattr(ppdiffusers, name)()
    scheduler.set_timesteps(10)
    samples = paddle.to_tensor(X * np.float32(getattr(scheduler, "init_noise_sigma", 1.0)))
    output = paddle.to_tensor(network(X, 1))

    def refuse(self: paddle.Tensor, *args: object) -> None:
        raise AssertionError(f"a tensor of {self.size} element(s) was read back")

    for reader in ("item", "numpy", "tolist", "__float__", "__int__", "__bool__", "__array__"):
        monkeypatch.setattr(paddle.Tensor, reader, refuse)
    for t in scheduler.host_timesteps:  # as pipelines do
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(samples, t)
        samples = scheduler.step(output, t, samples).prev_sample


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_loop_index_as_timestep_raises(name: str) -> None:
    scheduler = getattr(ppdiffusers, name)()
    scheduler.set_timesteps(5)
    x = paddle.to_tensor(noise(SHAPE))
    with pytest.raises(InputError, match="index of the loop"):
        scheduler.step(x, 0, x)


def test_invalid_combinations_raise() -> None:
    refused = [
        lambda: ppdiffusers.EulerDiscreteScheduler(use_karras_sigmas=True, use_beta_sigmas=True),
        lambda: ppdiffusers.DPMSolverMultistepScheduler(algorithm_type="dpmsolver"),
        lambda: ppdiffusers.DPMSolverMultistepScheduler(solver_type="nonsense"),
        lambda: ppdiffusers.DDPMScheduler(beta_schedule="nonsense"),
        lambda: ppdiffusers.DDPMScheduler(prediction_type="nonsense"),
        lambda: ppdiffusers.DDIMScheduler(timestep_spacing="nonsense"),
        lambda: ppdiffusers.DPMSolverMultistepScheduler(use_karras_sigmas=True).set_timesteps(timesteps=[9, 5]),
        lambda: ppdiffusers.DDPMScheduler().set_timesteps(timesteps=[5, 9]),
        lambda: ppdiffusers.DDPMScheduler().set_timesteps(1001),
        lambda: ppdiffusers.PNDMScheduler().set_timesteps(2),
        lambda: ppdiffusers.LCMScheduler().set_timesteps(51),
    ]
    for call in refused:
        with pytest.raises((ConfigError, InputError)):
            call()


@pytest.mark.parametrize("config", [{"solver_type": "bh1"}, {"predict_x0": False}, {"lower_order_final": False}])
def test_unipc_is_finite_where_the_reference_divides_by_zero(config: dict) -> None:
    scheduler = ppdiffusers.UniPCMultistepScheduler(**config)
    scheduler.set_timesteps(6)
    x = paddle.to_tensor(noise(SHAPE))
    for t in scheduler.timesteps:
        x = scheduler.step(paddle.to_tensor(network(x.numpy(), float(t))), t, x).prev_sample
    assert np.isfinite(x.numpy()).all()


@pytest.mark.parametrize("name", ["PNDMScheduler", "EulerAncestralDiscreteScheduler", "KDPM2DiscreteScheduler"])
def test_prediction_type_sample_equals_epsilon(name: str) -> None:
    """The reference rejects "sample" here; predicting x_0 must give the result of predicting the equivalent eps."""
    results = []
    for kind in ("epsilon", "sample"):
        config = {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
        scheduler = getattr(ppdiffusers, name)(prediction_type=kind, **config)
        scheduler.set_timesteps(4)
        x, eps = noise(SHAPE) * np.float32(float(scheduler.init_noise_sigma)), noise(SHAPE, "eps")
        t = scheduler.timesteps[0]
        if name == "PNDMScheduler":
            a = scheduler.host_alphas_cumprod[int(t)]
            x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
        else:
            x0 = x - scheduler.host_sigmas[0] * eps
        output = eps if kind == "epsilon" else x0
        arguments = {"generator": 1} if "Ancestral" in name else {}
        results.append(scheduler.step(paddle.to_tensor(output), t, paddle.to_tensor(x), **arguments).prev_sample)
    assert_close(results[1], results[0].numpy(), 1e-4)


def test_the_package_has_under_4000_lines() -> None:
    """Without docstrings, comments and blank lines."""
    total = 0
    for path in PACKAGE.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        skipped = set()
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                skipped |= set(range(node.lineno, node.end_lineno + 1))
        lines = enumerate(text.splitlines(), 1)
        total += sum(1 for i, line in lines if i not in skipped and line.strip() and not line.strip().startswith("#"))
    assert total < 4000, total
