"""Loading, saving, sharing and moving whole pipelines."""

import json
import shutil

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from ppdiffusers.core.errors import ConfigError, InputError, SourceError, UnsafeFileError, WeightsError
from ppdiffusers.pipelines.stages.device import parse_device_and_dtype
from tests.pipelines.support import PROMPTS, assert_images_agree
from tests.support.checkpoints import tiny_ddpm, tiny_stable_diffusion

CALL = {"prompt": PROMPTS[0], "generator": 2, "num_inference_steps": 2, "output_type": "np"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the folder that a test may spoil."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def pipe(folder):
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def edit_index(folder, **changes):
    path = folder / "model_index.json"
    index = json.loads(path.read_text("utf-8"))
    index.update(changes)
    path.write_text(json.dumps({k: v for k, v in index.items() if v != "gone"}), "utf-8")


def generate(pipeline, **more):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(**{**CALL, **more}).images


# -- loading --------------------------------------------------------------------------------------------------------


def test_the_folder_names_the_class(pipe, tmp_path):
    assert type(pipe) is StableDiffusionPipeline
    assert type(DiffusionPipeline.from_pretrained(tiny_ddpm(tmp_path))) is DDPMPipeline


def test_components(pipe, folder):
    assert set(pipe.components) == {
        "vae", "text_encoder", "tokenizer", "unet", "scheduler", "safety_checker", "feature_extractor", "image_encoder",
    }  # fmt: skip
    assert pipe.components["unet"] is pipe.unet and pipe.image_encoder is None
    assert pipe.config.unet == ("ppdiffusers", "UNet2DConditionModel")
    assert pipe.config.text_encoder == ("ppdiffusers.transformers", "CLIPTextModel")
    assert pipe.config.requires_safety_checker is True
    assert pipe.name_or_path == str(folder)
    assert not pipe.unet.training and not pipe.text_encoder.training


def test_components_can_be_given(pipe, folder):
    scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    loaded = StableDiffusionPipeline.from_pretrained(
        folder, scheduler=scheduler, unet=pipe.unet, safety_checker=None, requires_safety_checker=False
    )
    assert loaded.scheduler is scheduler and loaded.unet is pipe.unet
    assert loaded.safety_checker is None and loaded.vae is not pipe.vae
    assert loaded.config.requires_safety_checker is False


def test_a_given_component_need_not_be_in_the_folder(copy, pipe):
    shutil.rmtree(copy / "unet")
    edit_index(copy, unet=["somewhere", "SomebodysUNet"])
    np.testing.assert_array_equal(generate(DiffusionPipeline.from_pretrained(copy, unet=pipe.unet)), generate(pipe))


def test_missing_safety_checker_is_told(folder, caplog):
    StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    assert "no safety checker" in caplog.text
    caplog.clear()
    StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    assert not caplog.text


def test_arguments_of_other_releases(folder, pipe):
    loaded = StableDiffusionPipeline.from_pretrained(
        folder, from_diffusers=True, from_hf_hub=False, local_files_only=True, torch_dtype="float32", revision=None
    )
    np.testing.assert_array_equal(generate(loaded), generate(pipe))


@pytest.mark.parametrize("kind", ["bfloat16", torch.float16, paddle.float16])
def test_dtype(folder, kind, half_kernels):
    loaded = StableDiffusionPipeline.from_pretrained(folder, paddle_dtype=kind)
    name = str(kind).rpartition(".")[2]
    for component in ("unet", "vae", "text_encoder", "safety_checker"):
        assert str(getattr(loaded, component).dtype) == f"paddle.{name}"
    assert str(loaded.dtype) == f"paddle.{name}"


def test_variant(tmp_path):
    folder = tiny_stable_diffusion(tmp_path, safety_checker=False, file_variant="fp16", dtype="float16")
    loaded = StableDiffusionPipeline.from_pretrained(folder, variant="fp16")
    assert loaded.dtype == paddle.float32
    assert generate(loaded).shape == (1, 32, 32, 3)
    with pytest.raises(SourceError, match="fp16"):
        StableDiffusionPipeline.from_pretrained(folder)


@pytest.mark.parametrize("form", [{"safe_serialization": False}, {"max_shard_size": "40KB"}])
def test_other_files(tmp_path, form):
    written = tiny_stable_diffusion(tmp_path, safety_checker=False, **form)
    reference = diffusers.StableDiffusionPipeline.from_pretrained(written)
    reference.set_progress_bar_config(disable=True)
    theirs = reference(**{**CALL, "generator": torch.Generator().manual_seed(2)}).images
    assert_images_agree(generate(DiffusionPipeline.from_pretrained(written)), theirs)


def test_folders_of_the_old_ppdiffusers(pipe, folder, tmp_path):
    """`paddlenlp.transformers` in model_index.json, `model_config.json`, `.pdparams`."""
    pipe.save_pretrained(tmp_path / "old", safe_serialization=False)
    edit_index(
        tmp_path / "old",
        _ppdiffusers_version="0.9.0",
        text_encoder=["paddlenlp.transformers", "CLIPTextModel"],
        tokenizer=["paddlenlp.transformers", "CLIPTokenizer"],
        feature_extractor=["paddlenlp.transformers", "CLIPFeatureExtractor"],
    )
    np.testing.assert_array_equal(generate(DiffusionPipeline.from_pretrained(tmp_path / "old")), generate(pipe))


def test_all_missing_components_are_listed(copy):
    shutil.rmtree(copy / "vae")
    shutil.rmtree(copy / "tokenizer")
    edit_index(copy, scheduler="gone")
    with pytest.raises(ConfigError) as raised:
        DiffusionPipeline.from_pretrained(copy)
    assert len(raised.value.problems) == 3
    assert all(name in str(raised.value) for name in ("vae", "tokenizer", "scheduler"))


def test_all_unknown_classes_are_listed(copy):
    edit_index(copy, unet=["diffusers", "UNet9D"], vae=["my_module", "MyVAE"])
    with pytest.raises(ConfigError, match=r"UNet9D(.|\n)*MyVAE"):
        DiffusionPipeline.from_pretrained(copy)


def test_other_bad_folders(copy, tmp_path):
    with pytest.raises(SourceError):
        DiffusionPipeline.from_pretrained(tmp_path / "nowhere")
    edit_index(copy, _class_name="FlyingPipeline")
    with pytest.raises(ConfigError, match="FlyingPipeline"):
        DiffusionPipeline.from_pretrained(copy)
    edit_index(copy, _class_name="UNet2DModel")
    with pytest.raises(ConfigError, match="UNet2DModel"):
        DiffusionPipeline.from_pretrained(copy)
    edit_index(copy, **{"_class_name": "StableDiffusionPipeline", "../up": ["diffusers", "AutoencoderKL"]})
    with pytest.raises(UnsafeFileError):
        DiffusionPipeline.from_pretrained(copy)
    (copy / "model_index.json").unlink()
    with pytest.raises(ConfigError, match="missing"):
        DiffusionPipeline.from_pretrained(copy)


def test_damaged_weights(copy):
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError):
        DiffusionPipeline.from_pretrained(copy)


def test_unknown_arguments_are_ignored_with_a_warning(folder, pipe, caplog):
    ignored = {"provider": "CPUExecutionProvider", "low_cpu_mem_usage": True, "custom_revision": "x", "max_memory": {}}
    loaded = DiffusionPipeline.from_pretrained(
        folder, **ignored, trust_remote_code=False, offload_state_dict=True, output_loading_info=True
    )
    assert not caplog.text
    StableDiffusionPipeline.from_pretrained(folder, saftey_checker=None, use_onnx=True)
    assert "saftey_checker=None" in caplog.text and "use_onnx=True" in caplog.text
    np.testing.assert_array_equal(generate(loaded), generate(pipe))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_computes_in_float32_on_a_cpu(folder, tmp_path, dtype):
    """As the original computes in float32 with weights that were rounded."""
    loaded = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    assert loaded.dtype == loaded.unet.dtype == loaded.text_encoder.dtype == paddle.float32
    reference = diffusers.StableDiffusionPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype))
    reference.to(torch.float32).set_progress_bar_config(disable=True)
    theirs = reference(**{**CALL, "generator": torch.Generator().manual_seed(2)}).images
    images = generate(loaded)
    assert_images_agree(images, theirs)
    loaded.save_pretrained(tmp_path)
    size = (tmp_path / "unet" / "model_state.safetensors").stat().st_size
    assert size < 3 * sum(p.size for p in loaded.unet.parameters())
    again = StableDiffusionPipeline.from_pretrained(tmp_path)
    np.testing.assert_array_equal(generate(again), images)
    again.to(getattr(torch, dtype))  # a no-op for the values
    np.testing.assert_array_equal(generate(again), images)


def test_components_that_cannot_work(folder, pipe):
    theirs = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    scheduler = diffusers.DDIMScheduler()
    with pytest.raises(InputError) as raised:
        StableDiffusionPipeline.from_pretrained(folder, unet=theirs, scheduler=scheduler, vae="a path")
    for part in ("`unet`", "PyTorch", "`scheduler`", "`vae`", "builtins.str"):
        assert part in str(raised.value)
    with pytest.raises(InputError, match="not a scheduler"):
        StableDiffusionPipeline.from_pretrained(folder, scheduler=pipe.vae)
    with pytest.raises(InputError, match="feature extractor"):
        StableDiffusionPipeline.from_pretrained(folder, feature_extractor=None)


def test_a_function_is_accepted_as_feature_extractor(pipe, tmp_path, caplog):
    """diffusers accepts it, saves (None, None) with a warning, and reads it again if the caller passes it."""

    def extract(images, return_tensors):
        return pipe.feature_extractor(images, return_tensors=return_tensors)

    own = StableDiffusionPipeline(**{**pipe.components, "feature_extractor": extract})
    np.testing.assert_array_equal(generate(own), generate(pipe))
    assert own.config.feature_extractor == (extract.__module__, "function")
    own.save_pretrained(tmp_path)
    assert "`feature_extractor` is a function, which cannot be saved" in caplog.text
    assert json.loads((tmp_path / "model_index.json").read_text())["feature_extractor"] == [None, None]
    loaded = StableDiffusionPipeline.from_pretrained(tmp_path, feature_extractor=extract)
    np.testing.assert_array_equal(generate(loaded), generate(pipe))
    original = diffusers.DDPMPipeline(unet=extract, scheduler=diffusers.DDPMScheduler())
    assert original.config.unet == own.config.feature_extractor
    with pytest.raises(InputError, match="`scheduler` is builtins.function"):
        DDPMPipeline(unet=pipe.unet, scheduler=extract)


def test_loaded_components_are_logged(folder, caplog):
    with caplog.at_level("INFO", logger="ppdiffusers.pipelines.pipeline_utils"):
        loaded = StableDiffusionPipeline.from_pretrained(folder)
    for name in (name for name, component in loaded.components.items() if component is not None):
        assert f"Loaded {name} as " in caplog.text


# -- saving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", [{}, {"safe_serialization": False}, {"variant": "tiny"}, {"max_shard_size": "40KB"}], ids=str
)
def test_saved_and_loaded_again(pipe, tmp_path, form):
    pipe.save_pretrained(tmp_path / "saved", **form)
    again = DiffusionPipeline.from_pretrained(tmp_path / "saved", variant=form.get("variant"))
    np.testing.assert_array_equal(generate(again), generate(pipe))
    assert again.config.requires_safety_checker is True
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["saved"]


def test_back_to_diffusers(pipe, folder, tmp_path):
    pipe.save_pretrained(tmp_path / "theirs", to_diffusers=True)
    for name in ("model_index.json", "unet/config.json", "vae/config.json"):
        assert "_ppdiffusers" not in (tmp_path / "theirs" / name).read_text("utf-8").replace("_ppdiffusers_version", "")
    again, original = (diffusers.DiffusionPipeline.from_pretrained(f) for f in (tmp_path / "theirs", folder))
    assert type(again) is diffusers.StableDiffusionPipeline
    settings = {**CALL, "num_inference_steps": 20}
    for pipeline in (again, original):
        pipeline.set_progress_bar_config(disable=True)
    images = [p(**{**settings, "generator": torch.Generator().manual_seed(2)}).images for p in (again, original)]
    np.testing.assert_array_equal(*images)
    assert_images_agree(generate(pipe, num_inference_steps=20), images[0])
    index = json.loads((tmp_path / "theirs" / "model_index.json").read_text("utf-8"))
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"] and index["image_encoder"] == [None, None]


def test_both_variants_in_one_folder(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "README.md").write_text("mine")
    pipe.save_pretrained(tmp_path / "saved", variant="second")
    assert (tmp_path / "saved" / "README.md").read_text() == "mine"
    for variant in (None, "second"):
        loaded = DiffusionPipeline.from_pretrained(tmp_path / "saved", variant=variant)
        np.testing.assert_array_equal(generate(loaded), generate(pipe))


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_interrupted_save_leaves_what_was_there(pipe, tmp_path):
    target = tmp_path / "saved"
    pipe.save_pretrained(target)
    before = snapshot(target)

    class FullDisk(EulerDiscreteScheduler):
        def save_pretrained(self, *args, **kwargs):
            raise OSError(28, "No space left on device")

    other = StableDiffusionPipeline.from_pipe(pipe, scheduler=FullDisk(steps_offset=1))
    with pytest.raises(OSError, match="No space"):
        other.save_pretrained(target, variant="other")
    with pytest.raises(OSError, match="No space"):
        other.save_pretrained(target)
    with pytest.raises(OSError, match="No space"):
        other.save_pretrained(tmp_path / "new")
    assert snapshot(target) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved"]


def test_a_component_of_somebodys_own(pipe, tmp_path):
    class OwnScheduler(EulerDiscreteScheduler):
        pass

    own = OwnScheduler.from_config(pipe.scheduler.config)
    other = StableDiffusionPipeline.from_pipe(pipe, scheduler=own)
    other.save_pretrained(tmp_path / "saved")
    with pytest.raises(ConfigError, match="OwnScheduler"):
        DiffusionPipeline.from_pretrained(tmp_path / "saved")
    loaded = DiffusionPipeline.from_pretrained(tmp_path / "saved", scheduler=own)
    np.testing.assert_array_equal(generate(loaded), generate(other))


class OwnPipeline(DiffusionPipeline):
    """A user's pipeline with settings of every kind, and a component that it does not declare as optional."""

    def __init__(self, scheduler, label=None, colors=("red", "blue"), size=8, extra=None):
        super().__init__()
        self.register_modules(scheduler=scheduler, extra=extra)
        self.register_to_config(label=label, colors=colors, size=size)


@pytest.mark.parametrize(
    "settings",
    [
        {"label": "cat"},
        {"label": ["a", "b"], "colors": ["diffusers", "UNet2DModel"]},
        {"label": ["diffusers", "NoSuchModel"], "size": None},
        {"label": ["a", None]},
        {"extra": DDIMScheduler(num_train_timesteps=7)},
    ],
    ids=str,
)
def test_settings_of_a_pipeline_of_the_user(tmp_path, settings):
    OwnPipeline(EulerDiscreteScheduler(), **settings).save_pretrained(tmp_path)
    loaded = OwnPipeline.from_pretrained(tmp_path)
    extra = settings.get("extra")
    expected = {"label": None, "colors": ["red", "blue"], "size": 8, **settings}
    assert {name: loaded.config[name] for name in ("label", "colors", "size")} == {
        name: value for name, value in expected.items() if name != "extra"
    }
    assert loaded.extra is None if extra is None else loaded.extra.config.num_train_timesteps == 7
    with pytest.raises(ConfigError, match="OwnPipeline, which ppdiffusers does not have"):
        DiffusionPipeline.from_pretrained(tmp_path)


def test_a_pipeline_is_shown_as_json(pipe):
    shown = json.loads(repr(pipe).removeprefix("StableDiffusionPipeline "))
    assert shown["_class_name"] == "StableDiffusionPipeline" and shown["unet"] == [
        "ppdiffusers",
        "UNet2DConditionModel",
    ]
    assert shown["requires_safety_checker"] is True and "_name_or_path" in shown
    with pytest.warns(FutureWarning, match="requires_safety_checker"):
        assert pipe.requires_safety_checker is True


def test_save_refuses_what_it_cannot_do(pipe, tmp_path):
    with pytest.raises(InputError, match=r"push_to_hub(.|\n)*colour"):
        pipe.save_pretrained(tmp_path / "saved", push_to_hub=True, colour="red")
    assert not (tmp_path / "saved").exists()


# -- sharing --------------------------------------------------------------------------------------------------------


def test_from_pipe_shares_components(pipe):
    other = StableDiffusionPipeline.from_pipe(pipe, scheduler=DDIMScheduler(steps_offset=1, clip_sample=False))
    assert all(other.components[name] is pipe.components[name] for name in pipe.components if name != "scheduler")
    assert isinstance(other.scheduler, DDIMScheduler)
    same = StableDiffusionPipeline(**pipe.components)
    np.testing.assert_array_equal(generate(same), generate(pipe))
    silent = StableDiffusionPipeline.from_pipe(pipe, safety_checker=None, requires_safety_checker=False)
    assert silent.config.requires_safety_checker is False


def test_from_pipe_names_what_is_missing(tmp_path):
    with pytest.raises(InputError) as raised:
        StableDiffusionPipeline.from_pipe(DDPMPipeline.from_pretrained(tiny_ddpm(tmp_path)))
    assert raised.value.problems == ["vae", "text_encoder", "tokenizer"]
    with pytest.raises(InputError, match="colour"):
        StableDiffusionPipeline.from_pipe(DDPMPipeline.from_pretrained(tiny_ddpm(tmp_path)), colour=1)


# -- device and dtype -----------------------------------------------------------------------------------------------


def test_to(folder):
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    expected = generate(pipeline)
    assert pipeline.to("float64", "cpu") is pipeline
    assert pipeline.dtype == paddle.float64 and pipeline.device == "cpu"
    assert pipeline.to(paddle.CPUPlace(), dtype=paddle.float32).dtype == paddle.float32
    np.testing.assert_array_equal(generate(pipeline), expected)
    for _, buffer in pipeline.text_encoder.named_buffers():
        assert buffer.dtype != paddle.float64


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (("cpu",), {}, ("cpu", None)),
        (("float16",), {}, (None, "float16")),
        ((paddle.bfloat16, "cpu"), {}, ("cpu", "bfloat16")),
        ((torch.float16,), {"device": "cpu"}, ("cpu", "float16")),
        ((), {"torch_dtype": "fp16", "silence_dtype_warnings": True}, (None, "float16")),
        ((), {"torch_device": "cpu", "paddle_dtype": "fp16"}, ("cpu", "float16")),
        ((None,), {"dtype": None}, (None, None)),
    ],
)
def test_device_and_dtype_in_any_order(args, kwargs, expected):
    assert parse_device_and_dtype(*args, **kwargs) == expected


def test_everything_wrong_with_to_is_listed():
    with pytest.raises(InputError) as raised:
        parse_device_and_dtype("cpu", "tpu:3", "int64", "cpu", colour="red")
    said = str(raised.value)
    assert len(raised.value.problems) == 4
    assert all(part in said for part in ("'tpu:3'", "'int64'", "given twice", "colour"))


def test_no_gpu_is_said(pipe):
    for name in ("gpu", "cuda", "gpu:0"):
        with pytest.raises(InputError, match="paddlepaddle-gpu"):
            pipe.to(name)


# -- small things ---------------------------------------------------------------------------------------------------


def test_progress_bar(pipe, capsys):
    bar = DDPMPipeline(unet=UNet2DConditionModel.from_config(pipe.unet.config), scheduler=pipe.scheduler)
    assert list(bar.progress_bar([1, 2])) == [1, 2]
    with bar.progress_bar(total=3) as shown:
        shown.update()
    assert "1/3" in capsys.readouterr().err
    bar.set_progress_bar_config(disable=True)
    assert list(bar.progress_bar(range(3))) == [0, 1, 2]
    assert not capsys.readouterr().err
    with pytest.raises(InputError, match="`iterable` or `total`"):
        bar.progress_bar()


def test_numpy_to_pil(pipe):
    value = np.random.default_rng(0).random((2, 5, 7, 3)).astype(np.float32)
    expected = diffusers.DiffusionPipeline.numpy_to_pil(value)
    assert [p.tobytes() for p in pipe.numpy_to_pil(value)] == [p.tobytes() for p in expected]


def test_half_precision_vae_that_overflows_is_done_again(pipe, folder, caplog, monkeypatch, half_kernels):
    """float16 convolutions do not run on a CPU, so the VAE's 16-bit decode is played by one that overflows."""
    vae = AutoencoderKL.from_pretrained(folder / "vae", paddle_dtype="bfloat16")
    decode = AutoencoderKL.decode

    def overflowing(self, z, *args, **kwargs):
        if z.dtype == paddle.bfloat16:
            return (paddle.full([1, 3, 32, 32], float("inf"), dtype="bfloat16"),)
        return decode(self, z, *args, **kwargs)

    monkeypatch.setattr(AutoencoderKL, "decode", overflowing)
    other = StableDiffusionPipeline.from_pipe(pipe, vae=vae, safety_checker=None, requires_safety_checker=False)
    images = generate(other)
    assert "overflows in bfloat16" in caplog.text and "NaN" not in caplog.text
    assert vae.dtype == paddle.bfloat16
    assert np.abs(images - generate(pipe)).max() < 0.1


def test_public_names():
    for name in ("DiffusionPipeline", "StableDiffusionPipeline", "StableDiffusionSafetyChecker", "VaeImageProcessor"):
        assert name in ppdiffusers.__all__ and getattr(ppdiffusers, name).__name__ == name
