"""model_index.json of both worlds and of all ages."""

import importlib
import json

import pytest

from ppdiffusers import registry
from ppdiffusers.convert.model_index import parse_model_index, render_entry
from ppdiffusers.core.errors import ConfigError, UnsafeFileError

SAFETY = "pipelines.stable_diffusion.safety_checker.StableDiffusionSafetyChecker"


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        (["diffusers", "UNet2DConditionModel"], "models.unets.unet_2d_condition.UNet2DConditionModel"),
        (["ppdiffusers", "UNet2DConditionModel"], "models.unets.unet_2d_condition.UNet2DConditionModel"),
        (
            ["ppdiffusers.schedulers.scheduling_ddim", "DDIMScheduler"],
            "schedulers.scheduling_ddim.DDIMScheduler",
        ),
        (["diffusers.schedulers.deprecated", "PNDMScheduler"], "schedulers.scheduling_pndm.PNDMScheduler"),
        (["deprecated", "PNDMScheduler"], "schedulers.scheduling_pndm.PNDMScheduler"),
        (["transformers", "CLIPTextModel"], "transformers.clip.modeling.CLIPTextModel"),
        (["paddlenlp.transformers", "CLIPTextModel"], "transformers.clip.modeling.CLIPTextModel"),
        (
            ["paddlenlp.transformers.clip.modeling", "CLIPTextModel"],
            "transformers.clip.modeling.CLIPTextModel",
        ),
        (["ppdiffusers.transformers", "CLIPTokenizer"], "transformers.clip.tokenization.CLIPTokenizer"),
        (
            ["transformers", "CLIPFeatureExtractor"],
            "transformers.clip.image_processing.CLIPFeatureExtractor",
        ),
        (
            ["transformers", "CLIPImageProcessorFast"],
            "transformers.clip.image_processing.CLIPImageProcessor",
        ),
        (["transformers", "DPTForDepthEstimation"], "transformers.dpt.modeling.DPTForDepthEstimation"),
        (["transformers", "DPTFeatureExtractor"], "transformers.dpt.image_processing.DPTFeatureExtractor"),
        (["transformers", "DPTImageProcessorFast"], "transformers.dpt.image_processing.DPTImageProcessor"),
        (["stable_diffusion", "StableDiffusionSafetyChecker"], SAFETY),
        (["ppdiffusers.pipelines.stable_diffusion.safety_checker", "StableDiffusionSafetyChecker"], SAFETY),
        (["diffusers.pipelines.stable_diffusion", "StableDiffusionSafetyChecker"], SAFETY),
        ([None, None], None),
    ],
)
def test_entries(entry, path):
    index = parse_model_index({"_class_name": "StableDiffusionPipeline", "part": entry})
    assert index.components["part"].path == (path and f"ppdiffusers.{path}")


def test_a_whole_file_with_flags(tmp_path):
    raw = {
        "_class_name": "StableDiffusionPipeline",
        "_ppdiffusers_version": "0.19.4",
        "_diffusers_version": "0.6.0",
        "_name_or_path": "x",
        "unet": ["ppdiffusers", "UNet2DConditionModel"],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "force_zeros_for_empty_prompt": True,
        "sizes": [1, 2],
        "nothing": None,
    }
    (tmp_path / "model_index.json").write_text(json.dumps(raw))
    for place in (tmp_path, tmp_path / "model_index.json"):
        index = parse_model_index(place)
        assert index.pipeline == "StableDiffusionPipeline"
        assert list(index.components) == ["unet", "image_encoder"]
        assert index.components["unet"].known.has_weights
        assert index.settings == {
            "requires_safety_checker": False,
            "force_zeros_for_empty_prompt": True,
            "sizes": [1, 2],
            "nothing": None,
        }
        assert index.raw == raw


def test_unknown_classes_are_all_listed():
    raw = {
        "_class_name": "P",
        "a": ["diffusers_modules.local.mine", "UNet2DModel"],
        "b": ["os", "system"],
        "c": ["diffusers", "NoSuchModel"],
        "d": ["transformers", "UNet2DModel"],
        "e": ["my_unet", "UNet2DConditionModel"],
        "f": ["diffusers_evil", "UNet2DModel"],
        "g": [None, "UNet2DModel"],
        "fine": ["diffusers", "UNet2DModel"],
    }
    with pytest.raises(ConfigError) as caught:
        parse_model_index(raw)
    assert [problem[0] for problem in caught.value.problems] == list("abcdefg")
    assert parse_model_index(raw, given="abcdefg").components["c"].known is None


@pytest.mark.parametrize("name", ["../unet", "/unet", "a/b", "..", ".", "a\\b", "C:", ""])
def test_names_stay_in_their_folder(name):
    raw = {"_class_name": "P", name: ["diffusers", "UNet2DModel"], "b": ["os", "system"]}
    with pytest.raises(UnsafeFileError) as caught:
        parse_model_index(raw)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("entry", [["../x", "UNet2DModel"], ["/tmp/x", "UNet2DModel"], ["diffusers", "a.b"]])
def test_libraries_and_classes_are_names(entry):
    with pytest.raises(UnsafeFileError, match="part"):
        parse_model_index({"_class_name": "P", "part": entry})


def test_two_strings_can_be_a_setting(tmp_path):
    entries = {"pair": ["red", "blue"], "off": [None, None], "unet": ["diffusers", "UNet2DModel"]}
    index = parse_model_index({"_class_name": "DDPMPipeline", **entries}, settings=["pair", "off"])
    assert index.settings == {"pair": ["red", "blue"]} and set(index.components) == {"off", "unet"}
    with pytest.raises(ConfigError, match="pair"):
        parse_model_index({"_class_name": "DDPMPipeline", **entries})
    # the class of the file is unknown: an unknown library without a folder is not a component
    file = tmp_path / "model_index.json"
    file.write_text(json.dumps({"_class_name": "Own", **entries}))
    assert parse_model_index(file).settings == {"pair": ["red", "blue"]}
    (tmp_path / "pair").mkdir()
    with pytest.raises(ConfigError, match="pair"):
        parse_model_index(file)


@pytest.mark.parametrize("pipeline", [None, 3, "../x"])
def test_a_pipeline_needs_a_name(pipeline):
    with pytest.raises(ConfigError, match="_class_name"):
        parse_model_index({"_class_name": pipeline})


@pytest.mark.parametrize("world", ["diffusers", "ppdiffusers", "paddlenlp"])
def test_what_is_rendered_parses_to_the_same_class(world):
    for name, known in registry.components().items():
        entry = render_entry(name, world)
        index = parse_model_index({"_class_name": "P", "part": entry})
        assert index.components["part"].known.library == known.library
        if world != "paddlenlp":
            assert index.components["part"].path == known.path
    assert render_entry(None, world) == [None, None]


def test_rendered_entries():
    assert render_entry("UNet2DModel", "diffusers") == ["diffusers", "UNet2DModel"]
    assert render_entry("UNet2DModel", "paddlenlp") == ["ppdiffusers", "UNet2DModel"]
    assert render_entry("CLIPTokenizerFast", "paddlenlp") == ["paddlenlp.transformers", "CLIPTokenizer"]
    assert render_entry("CLIPTextModel", "ppdiffusers") == ["ppdiffusers.transformers", "CLIPTextModel"]
    safety = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    assert render_entry("StableDiffusionSafetyChecker", "diffusers") == safety
    with pytest.raises(ConfigError, match="Unknown"):
        render_entry("Unknown", "diffusers")


def test_the_published_classes_exist_upstream_under_these_libraries():
    import diffusers
    import transformers
    from diffusers.schedulers import deprecated  # where ScoreSdeVpScheduler is today

    homes = {"diffusers": (diffusers, deprecated), "transformers": (transformers,)}
    for name, known in registry.components().items():
        if known.index_module:  # not exported by the library itself
            assert hasattr(importlib.import_module(known.index_module), name), name
        elif known.library in homes:
            assert any(hasattr(home, name) for home in homes[known.library]), name
