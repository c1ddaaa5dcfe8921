"""ppdiffusers with a real paddlenlp: its models as components, its folders, its layout written by `convert`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddlenlp.transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, RobertaConfig, RobertaModel

import ppdiffusers.transformers as ours_lib
from ppdiffusers import StableDiffusionPipeline, convert_diffusers_to_paddle
from ppdiffusers.pipelines.alt_diffusion.modeling_roberta_series import RobertaSeriesModelWithTransformation

FOLDER = Path(__file__).parents[2] / "examples" / "assets" / "shapes-bilingual"
PROMPTS = ["一个红色的圆形，白色背景", "a blue triangle on a yellow background"]


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """The embedded checkpoint, written the way paddlenlp reads it (which computes in the dtype of the file)."""
    target = tmp_path_factory.mktemp("converted") / "paddlenlp"
    convert_diffusers_to_paddle(FOLDER, target, layout="paddlenlp", dtype="float32", progress=False)
    return target


@pytest.fixture(scope="module")
def ours():
    return StableDiffusionPipeline.from_pretrained(FOLDER)


def generate(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe(PROMPTS, num_inference_steps=4, generator=3, output_type="np").images


def ids(pipe):
    tokens = pipe.tokenizer(PROMPTS, padding="max_length", truncation=True, return_tensors="np")
    return paddle.to_tensor(np.asarray(tokens["input_ids"]))


def hidden(model, input_ids):
    with paddle.no_grad():
        output = model(input_ids)
    return (output[0] if isinstance(output, tuple) else output.last_hidden_state).numpy()


def test_importing_ours_does_not_import_paddlenlp():
    code = "import sys, ppdiffusers; ppdiffusers.StableDiffusionPipeline; print('paddlenlp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "False"


def test_pytorch_is_not_needed():
    code = "import importlib.util as u; print([m for m in ('torch', 'diffusers', 'transformers') if u.find_spec(m)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] in ("[]", "['transformers']")


def test_layout_is_what_paddlenlp_reads(layout, ours):
    index = json.loads((layout / "model_index.json").read_text(encoding="utf-8"))
    assert index["text_encoder"] == ["paddlenlp.transformers", "CLIPTextModel"]
    theirs = CLIPTextModel.from_pretrained(str(layout / "text_encoder"))
    theirs.eval()
    expected = hidden(ours.text_encoder, ids(ours))
    np.testing.assert_allclose(hidden(theirs, ids(ours)), expected, atol=1e-5 * np.abs(expected).max())


def test_ours_reads_that_folder(layout, ours):
    again = StableDiffusionPipeline.from_pretrained(layout)
    assert isinstance(again.text_encoder, ours_lib.CLIPTextModel)
    assert np.array_equal(generate(again), generate(ours))


def test_paddlenlp_components_give_the_same_images(layout, ours):
    text_encoder = CLIPTextModel.from_pretrained(str(layout / "text_encoder"))
    tokenizer = CLIPTokenizer.from_pretrained(str(layout / "tokenizer"))
    text_encoder.eval()
    mixed = StableDiffusionPipeline.from_pretrained(FOLDER, text_encoder=text_encoder, tokenizer=tokenizer)
    assert mixed.text_encoder is text_encoder and mixed.tokenizer is tokenizer
    english = {"num_inference_steps": 4, "generator": 3, "output_type": "np"}
    for pipe in (mixed, ours):
        pipe.set_progress_bar_config(disable=True)
    np.testing.assert_allclose(mixed(PROMPTS[1], **english).images, ours(PROMPTS[1], **english).images, atol=2e-3)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_folders_that_paddlenlp_saved(tmp_path, act):
    paddle.seed(0)
    config = CLIPTextConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=20,
        hidden_act=act,
        eos_token_id=98,
    )
    theirs = CLIPTextModel(config)
    for parameter in theirs.parameters():
        parameter.set_value(parameter + 0.1 * paddle.randn(parameter.shape))
    theirs.eval()
    theirs.save_pretrained(str(tmp_path))
    mine = ours_lib.CLIPTextModel.from_pretrained(tmp_path)
    values = paddle.to_tensor(np.random.default_rng(0).integers(1, 98, (3, 12)))
    expected = hidden(theirs, values)
    np.testing.assert_allclose(hidden(mine, values), expected, atol=1e-5 * np.abs(expected).max())


def test_the_text_encoder_of_old_altdiffusion_folders(tmp_path):
    """A RobertaModel of paddlenlp's and a linear layer, saved as the first releases of ppdiffusers did."""
    paddle.seed(0)
    settings = {
        "vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "max_position_embeddings": 20, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-3,
    }  # fmt: skip
    tower, projection = RobertaModel(RobertaConfig(**settings)), paddle.nn.Linear(32, 24)
    tower.embeddings.word_embeddings._padding_idx = None
    for parameter in (*tower.parameters(), *projection.parameters()):
        parameter.set_value(parameter + 0.1 * paddle.randn(parameter.shape))
    tower.eval()
    state = {f"roberta.{key}": value for key, value in tower.state_dict().items()}
    state |= {f"transformation.{key}": value for key, value in projection.state_dict().items()}
    paddle.save(state, str(tmp_path / "model_state.pdparams"))
    saved = {**settings, "project_dim": 24, "model_type": "roberta", "paddlenlp_version": "2.5.2"}
    (tmp_path / "config.json").write_text(json.dumps(saved), encoding="utf-8")
    mine = RobertaSeriesModelWithTransformation.from_pretrained(tmp_path)

    ids = np.random.default_rng(0).integers(4, 60, (2, 12))
    mask = np.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = 1, 0
    places = np.cumsum(mask, axis=1) * mask + 1
    ids, mask, places = map(paddle.to_tensor, (ids, mask, places))
    with paddle.no_grad():
        states = tower(ids, attention_mask=mask, position_ids=places)[0]
        expected = projection(states).numpy()
        found = mine(ids, attention_mask=mask)[0].numpy()
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
