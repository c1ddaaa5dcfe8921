"""Long prompts and the weights of the web UI, against diffusers' text encoder and an independent implementation."""

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.prompt_weights import parse_weights
from tests.pipelines.support import PROMPTS, assert_images_agree, call_both, generators, load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.parity import assert_close

LONG = "a red circle, a small blue square and " * 9 + "two cats"
LENGTH, CAPACITY = 77, 75


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def pair(request, tmp_path_factory):
    return load_both(tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), variant=request.param, safety_checker=False))


def reference(theirs, chunks: list[list[tuple[int, float]]]) -> np.ndarray:
    """Encode each chunk separately with the PyTorch encoder, weighted as in the web UI: [1, 77 * chunks, D]."""
    tokenizer, joined = theirs.tokenizer, []
    for chunk in chunks:
        ids = [tokenizer.bos_token_id, *(token for token, _ in chunk), tokenizer.eos_token_id]
        ids += [tokenizer.pad_token_id] * (LENGTH - len(ids))
        weights = torch.tensor([1.0, *(weight for _, weight in chunk)] + [1.0] * (LENGTH - 1 - len(chunk)))
        with torch.no_grad():
            hidden = theirs.text_encoder(torch.tensor([ids]))[0]
        weighted = hidden * weights[None, :, None]
        joined.append(weighted * (hidden.mean() / weighted.mean()))
    return torch.cat(joined, dim=1).numpy()


def tokens(theirs, string: str, weight: float = 1.0) -> list[tuple[int, float]]:
    return [(token, weight) for token in theirs.tokenizer(string, add_special_tokens=False).input_ids]


def encode(ours, prompt, **settings):
    return ours.encode_prompt(prompt, ours.device, 1, True, settings.pop("negative_prompt", None), **settings)


# -- long prompts -------------------------------------------------------------------------------------------------


def test_prompt_that_fits_is_encoded_as_in_diffusers(pair):
    ours, theirs = pair
    words = "c " * CAPACITY  # one token each: the longest prompt that fits
    assert len(theirs.tokenizer(words).input_ids) == LENGTH
    for prompt in (words, PROMPTS[0], ""):
        with torch.no_grad():
            expected, _ = theirs.encode_prompt(prompt, "cpu", 1, False)
        for settings in ({}, {"prompt_syntax": "webui"}, {"long_prompts": "truncate"}, {"long_prompts": "split"}):
            mine, _ = encode(ours, prompt, **settings)
            assert_close(mine, expected)


def test_long_prompts_are_truncated_by_default(pair, caplog):
    """A call gives the array of diffusers, and the warning names the alternative."""
    ours, theirs = pair
    prompt = "c " * 100
    assert len(theirs.tokenizer(prompt).input_ids) > 100
    mine, _ = encode(ours, prompt)
    with torch.no_grad():
        expected, _ = theirs.encode_prompt(prompt, "cpu", 1, False)
    assert mine.shape == [1, LENGTH, 32]
    assert_close(mine, expected)
    assert "truncated: " in caplog.text and '`long_prompts="split"`' in caplog.text
    results = call_both(ours, theirs, seed=3, prompt=prompt, num_inference_steps=3, output_type="np")
    assert_images_agree(results[0].images, results[1].images)


def test_no_warning_for_prompts_that_fit_or_are_split(pair, caplog):
    encode(pair[0], PROMPTS)
    encode(pair[0], LONG, long_prompts="split")
    assert "truncated" not in caplog.text


def test_webui_syntax_splits_by_default(pair):
    ours, theirs = pair
    ids = tokens(theirs, "c " * 100)
    mine, negative = encode(ours, "c " * 100, prompt_syntax="webui")
    assert mine.shape == negative.shape == [1, 2 * LENGTH, 32]
    assert_close(mine, reference(theirs, [ids[:CAPACITY], ids[CAPACITY:]]))


def test_long_prompts_can_be_split(pair):
    ours, theirs = pair
    ids = tokens(theirs, LONG)
    assert len(ids) > 2 * CAPACITY, "the test requires three chunks"
    chunks = [ids[:CAPACITY], ids[CAPACITY : 2 * CAPACITY], ids[2 * CAPACITY :]]
    mine, negative = encode(ours, LONG, long_prompts="split")
    assert mine.shape == negative.shape == [1, 3 * LENGTH, 32]
    assert_close(mine, reference(theirs, chunks))
    assert_close(negative, reference(theirs, [[], [], []]))


def test_short_prompts_are_repeated_to_the_length_of_long_ones(pair):
    ours, theirs = pair
    ids = tokens(theirs, "two cats " * 60)
    mine, negative = encode(ours, PROMPTS, negative_prompt=["two cats " * 60, "x"], long_prompts="split")
    assert mine.shape == negative.shape == [2, (-(-len(ids) // CAPACITY)) * LENGTH, 32]
    chunks = [ids[n : n + CAPACITY] for n in range(0, len(ids), CAPACITY)]
    assert_close(negative[:1], reference(theirs, chunks))
    assert_close(mine[1:], reference(theirs, [tokens(theirs, PROMPTS[1])] * len(chunks)))


def test_negative_prompt_with_long_embeddings(pair):
    ours, theirs = pair
    embeds = paddle.ones([2, 3 * LENGTH, 32])
    long = tokens(theirs, "c " * 100)
    assert CAPACITY < len(long) <= 2 * CAPACITY, "the test requires two chunks"
    settings = {"negative_prompt": ["blurry", "c " * 100], "long_prompts": "split"}
    mine, negative = encode(ours, None, prompt_embeds=embeds, **settings)
    assert mine.shape == negative.shape == [2, 6 * LENGTH, 32]
    assert_close(mine, paddle.ones([2, 6 * LENGTH, 32]))
    assert_close(negative[:1], reference(theirs, [tokens(theirs, "blurry")] * 6))
    assert_close(negative[1:], reference(theirs, [long[:CAPACITY], long[CAPACITY:]] * 3))
    with pytest.raises(InputError, match="does not fit embeddings of 77"):
        encode(ours, None, prompt_embeds=embeds[:1, :LENGTH], negative_prompt=LONG, long_prompts="split")


SHORT, TWO_CHUNKS = "two cats", "c " * 100
NEIGHBORS = {
    "a long prompt next to it": {"prompt": [SHORT, LONG]},
    "long prompts of two and three chunks": {"prompt": [TWO_CHUNKS, LONG]},
    "a long negative prompt next to it": {"prompt": [SHORT, SHORT], "negative_prompt": ["x", LONG]},
    "a shorter negative prompt": {"prompt": [LONG, SHORT], "negative_prompt": ["x", TWO_CHUNKS]},
}


@pytest.mark.parametrize("name", NEIGHBORS)
@pytest.mark.parametrize("settings", [{"long_prompts": "split"}, {"prompt_syntax": "webui"}])
def test_prompts_of_a_batch_give_the_images_that_they_give_alone(pair, name, settings):
    """Each prediction of the UNet depends on its own prompt and negative prompt only."""
    ours, batch = pair[0], NEIGHBORS[name]
    settings = {"num_inference_steps": 3, "output_type": "latent", "guidance_scale": 5.0, **settings}
    together = ours(**batch, generator=[0, 1], **settings).images
    for n in range(2):
        alone = {key: values[n] for key, values in batch.items()}
        assert_close(together[n : n + 1], ours(**alone, generator=n, **settings).images, 1e-5)


def test_negative_prompt_of_another_length(pair):
    """A prompt that fits gives the prediction that it gives with a short negative prompt."""
    ours = pair[0]
    seen = {}

    def keep(pipeline, index, timestep, tensors):
        seen.setdefault(negative, []).append(tensors["prompt_embeds"])
        return {}

    for negative in ("x", LONG):
        ours(
            SHORT, negative_prompt=negative, generator=0, num_inference_steps=1, output_type="latent",
            callback_on_step_end=keep, callback_on_step_end_tensor_inputs=["prompt_embeds"], long_prompts="split",
        )  # fmt: skip
    short, long = (seen[negative][0][1:] for negative in ("x", LONG))
    latents, t = paddle.randn([1, 4, 16, 16]), paddle.to_tensor([500])
    with paddle.no_grad():
        assert_close(ours.unet(latents, t, long)[0], ours.unet(latents, t, short)[0], 1e-5)


def test_callback_that_ends_guidance_with_long_prompts(pair):
    """The embeddings need no mask: half of them are still those of the prompts."""
    ours = pair[0]

    def end_guidance(pipeline, index, timestep, tensors):
        if index == 0:
            pipeline._guidance_scale = 1.0
            return {"prompt_embeds": tensors["prompt_embeds"].chunk(2)[1]}
        return {}

    settings = {
        "num_inference_steps": 3, "output_type": "latent", "long_prompts": "split",
        "callback_on_step_end": end_guidance, "callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"],
    }  # fmt: skip
    together = ours([SHORT, LONG], generator=[0, 1], **settings).images
    assert_close(together[:1], ours(SHORT, generator=0, **settings).images, 1e-5)


def test_lengths_without_a_small_common_multiple(pair):
    prompts = ["c " * (count * CAPACITY) for count in (3, 5, 7)]
    with pytest.raises(
        InputError, match="have 1, 3, 5, 7 chunks of 77 tokens: repeated to one length they would have 105"
    ):
        encode(pair[0], prompts, negative_prompt=[""] * 3, long_prompts="split")


def test_clip_skip_of_a_long_prompt(pair):
    ours, theirs = pair
    mine, _ = encode(ours, "two cats " * 60, clip_skip=1, long_prompts="split")
    with torch.no_grad():
        expected, _ = theirs.encode_prompt("two cats " * 60, "cpu", 1, False, clip_skip=1)  # the first 77 tokens
    ids = tokens(theirs, "two cats " * 60)[:CAPACITY]
    assert_close(mine[:, : len(ids) + 1], expected[:, : len(ids) + 1])  # attention is causal


def test_image_of_a_long_prompt(pair):
    ours, theirs = pair
    mine, other = generators(3)
    with torch.no_grad():
        embeds, negative = (torch.from_numpy(x.numpy()) for x in encode(ours, LONG, long_prompts="split"))
    settings = {"num_inference_steps": 3, "output_type": "np"}
    image = ours(LONG, generator=mine, long_prompts="split", **settings).images
    expected = theirs(prompt_embeds=embeds, negative_prompt_embeds=negative, generator=other, **settings).images
    np.testing.assert_allclose(image, expected, atol=2e-3)
    truncated = ours(LONG, generator=3, **settings).images
    assert np.abs(image - truncated).max() > 1e-3


# -- syntax of the web UI ------------------------------------------------------------------------------------------

UP = 1.1
PARSED = {
    "normal text": [[("normal text", 1.0)]],
    "an (important) word": [[("an ", 1.0), ("important", UP), (" word", 1.0)]],
    "(unbalanced": [[("unbalanced", UP)]],
    "unopened) text]": [[("unopened) text]", 1.0)]],
    r"\(literal\]": [[("(literal]", 1.0)]],
    r"a \\ b \x": [[(r"a \ b \x", 1.0)]],
    "(unnecessary)(parens)": [[("unnecessaryparens", UP)]],
    "((twice))": [[("twice", UP * UP)]],
    "[less]": [[("less", 1 / UP)]],
    "(a:1.3)": [[("a", 1.3)]],
    "(a: -.5 )b": [[("a", -0.5), ("b", 1.0)]],
    "a:1.3)": [[("a:1.3)", 1.0)]],
    "[a:1.3]": [[("a:1.3", 1 / UP)]],
    "(a (b:2) c:1.5)": [[("a ", 1.5), ("b", 3.0), (" c", 1.5)]],
    "(a [b) c]": [[("a ", UP), ("b", UP * (1 / UP)), (" c", 1 / UP)]],
    "a BREAK b": [[("a", 1.0)], [("b", 1.0)]],
    "(a BREAK b:1.2)": [[("a", 1.2)], [("b", 1.2)]],
    "BREAK": [[], []],
    "BREAKFAST": [[("BREAKFAST", 1.0)]],
    "一只(可爱:1.2)的猫": [[("一只", 1.0), ("可爱", 1.2), ("的猫", 1.0)]],
    "": [[]],
}


@pytest.mark.parametrize("prompt", PARSED)
def test_parse_weights(prompt):
    sections = [[(words.text, pytest.approx(words.weight)) for words in section] for section in parse_weights(prompt)]
    assert sections == PARSED[prompt]


def test_weights(pair):
    ours, theirs = pair
    mine, negative = encode(
        ours,
        "a (red circle:1.4) on [white] background",
        negative_prompt="((ugly))",
        prompt_syntax="webui",
    )
    chunk = [
        *tokens(theirs, "a "),
        *tokens(theirs, "red circle", 1.4),
        *tokens(theirs, " on "),
        *tokens(theirs, "white", 1 / 1.1),
        *tokens(theirs, " background"),
    ]
    assert_close(mine, reference(theirs, [chunk]))
    assert_close(negative, reference(theirs, [tokens(theirs, "ugly", 1.1 * 1.1)]))
    plain, _ = encode(ours, "a red circle on white background")
    assert np.abs((mine - plain).numpy()).max() > 0.05


def test_syntax_of_the_web_ui_without_effect(pair, caplog):
    """Tags of LoRA are removed as in the web UI; other syntax is encoded as words. All of it is named once."""
    ours, _ = pair
    prompt = "a (cat:1.2)<lora:style:0.8> AND [a:b:0.5] [x|y] <toy>"
    mine, _ = encode(ours, prompt, prompt_syntax="webui")
    for part in ("<lora:style:0.8> (load", "AND (", "[a:b:0.5] (", "[x|y] ("):
        assert caplog.text.count(part) == 1
    assert "<toy> (" not in caplog.text
    caplog.clear()
    plain, _ = encode(ours, prompt.replace("<lora:style:0.8>", ""), prompt_syntax="webui")
    np.testing.assert_array_equal(mine.numpy(), plain.numpy())
    encode(ours, r"a (cat:1.2), \[a:b:0.5\] [dog] SAND", prompt_syntax="webui")
    assert caplog.text.count("no effect here") == 1
    caplog.clear()
    encode(ours, prompt)
    assert "no effect" not in caplog.text


def test_weights_are_independent_of_the_batch(pair):
    ours, _ = pair
    together, _ = encode(ours, ["a (cat:1.5)", "a [dog]"], prompt_syntax="webui")
    for n, prompt in enumerate(("a (cat:1.5)", "a [dog]")):
        alone, _ = encode(ours, prompt, prompt_syntax="webui")
        np.testing.assert_allclose(together[n : n + 1].numpy(), alone.numpy(), atol=1e-5)


def test_break(pair):
    ours, theirs = pair
    mine, _ = encode(ours, "a red circle BREAK (two cats:1.2)", prompt_syntax="webui")
    assert_close(mine, reference(theirs, [tokens(theirs, "a red circle"), tokens(theirs, "two cats", 1.2)]))


@pytest.mark.parametrize("after", [19, 20])
def test_full_chunk_ends_at_a_nearby_comma(pair, after):
    """A comma is near if it is one of the last twenty tokens of the chunk."""
    ours, theirs = pair
    text = "c " * (CAPACITY - after - 1) + ", " + "r " * (after + 5)
    ids = tokens(theirs, text)
    assert len(ids) == CAPACITY + 5, "one token each"
    end = CAPACITY - after if after == 19 else CAPACITY
    mine, _ = encode(ours, text, prompt_syntax="webui")
    assert_close(mine, reference(theirs, [ids[:end], ids[end:]]))
    plain, _ = encode(ours, text, long_prompts="split")
    assert_close(plain, reference(theirs, [ids[:CAPACITY], ids[CAPACITY:]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_syntax": "compel"}, "'plain' or 'webui', not 'compel'"),
        ({"long_prompts": "cut"}, "'truncate' or 'split', not 'cut'"),
        ({"prompt_syntax": "webui", "long_prompts": "truncate"}, "the web UI splits prompts"),
    ],
)
def test_invalid_settings(pair, settings, message):
    with pytest.raises(InputError, match=message):
        pair[0]("a", num_inference_steps=1, **settings)
