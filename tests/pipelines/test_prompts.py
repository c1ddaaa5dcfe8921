"""Long prompts and the web UI's weights, against the rule written out once more, and against diffusers' encoder."""

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.prompt_weights import parse_weights
from tests.pipelines.support import PROMPTS, generators, load_both
from tests.support.checkpoints import tiny_stable_diffusion
from tests.support.parity import assert_close

LONG = "a red circle, a small blue square and " * 9 + "two cats"
LENGTH, ROOM = 77, 75


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def pair(request, tmp_path_factory):
    return load_both(tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), variant=request.param, safety_checker=False))


def reference(theirs, chunks: list[list[tuple[int, float]]]) -> np.ndarray:
    """[1, 77 * chunks, D]: each chunk through the PyTorch encoder for itself, weighted as the web UI does."""
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


def tokens(theirs, text: str, weight: float = 1.0) -> list[tuple[int, float]]:
    return [(token, weight) for token in theirs.tokenizer(text, add_special_tokens=False).input_ids]


def encode(ours, prompt, **settings):
    return ours.encode_prompt(prompt, ours.device, 1, True, settings.pop("negative_prompt", None), **settings)


# -- long prompts -------------------------------------------------------------------------------------------------


def test_a_prompt_that_fits_is_that_of_diffusers(pair):
    ours, theirs = pair
    words = "c " * ROOM  # one token each: the longest that fits
    assert len(theirs.tokenizer(words).input_ids) == LENGTH
    for prompt in (words, PROMPTS[0], ""):
        with torch.no_grad():
            expected, _ = theirs.encode_prompt(prompt, "cpu", 1, False)
        for settings in ({}, {"prompt_syntax": "webui"}, {"long_prompts": "truncate"}):
            mine, _ = encode(ours, prompt, **settings)
            assert_close(mine, expected)


def test_a_long_prompt_is_split(pair):
    ours, theirs = pair
    ids = tokens(theirs, LONG)
    assert len(ids) > 2 * ROOM, "three chunks are wanted"
    chunks = [ids[:ROOM], ids[ROOM : 2 * ROOM], ids[2 * ROOM :]]
    mine, avoided = encode(ours, LONG)
    assert mine.shape == avoided.shape == [1, 3 * LENGTH, 32]
    assert_close(mine, reference(theirs, chunks))
    assert_close(avoided, reference(theirs, [[], [], []]))


def test_every_prompt_gets_as_many_chunks_as_the_longest(pair):
    ours, theirs = pair
    ids = tokens(theirs, "two cats " * 60)
    mine, avoided = encode(ours, PROMPTS, negative_prompt=["two cats " * 60, "x"])
    assert mine.shape == avoided.shape == [2, (-(-len(ids) // ROOM)) * LENGTH, 32]
    chunks = [ids[n : n + ROOM] for n in range(0, len(ids), ROOM)]
    assert_close(avoided[:1], reference(theirs, chunks))
    assert_close(mine[1:], reference(theirs, [tokens(theirs, PROMPTS[1])] + [[]] * (len(chunks) - 1)))


def test_a_text_beside_long_embeddings(pair):
    ours, theirs = pair
    embeds = paddle.ones([2, 3 * LENGTH, 32])
    mine, avoided = encode(ours, None, prompt_embeds=embeds, negative_prompt=["blurry", "two cats " * 30])
    assert mine.shape == avoided.shape == [2, 3 * LENGTH, 32]
    assert_close(avoided[:1], reference(theirs, [tokens(theirs, "blurry"), [], []]))
    with pytest.raises(InputError, match="does not fit embeddings of 77"):
        encode(ours, None, prompt_embeds=embeds[:1, :LENGTH], negative_prompt=LONG)


def test_clip_skip_of_a_long_prompt(pair):
    ours, theirs = pair
    mine, _ = encode(ours, "two cats " * 60, clip_skip=1)
    with torch.no_grad():
        expected, _ = theirs.encode_prompt("two cats " * 60, "cpu", 1, False, clip_skip=1)  # the first 77 tokens
    ids = tokens(theirs, "two cats " * 60)[:ROOM]
    assert_close(mine[:, : len(ids) + 1], expected[:, : len(ids) + 1])  # attention looks back only


def test_an_image_of_a_long_prompt(pair):
    ours, theirs = pair
    mine, other = generators(3)
    with torch.no_grad():
        embeds = torch.from_numpy(encode(ours, LONG)[0].numpy())
        avoided = torch.from_numpy(encode(ours, LONG)[1].numpy())
    settings = {"num_inference_steps": 3, "output_type": "np"}
    image = ours(LONG, generator=mine, **settings).images
    expected = theirs(prompt_embeds=embeds, negative_prompt_embeds=avoided, generator=other, **settings).images
    np.testing.assert_allclose(image, expected, atol=2e-3)
    cut = ours(LONG, generator=3, long_prompts="truncate", **settings).images
    assert np.abs(image - cut).max() > 1e-3


# -- the web UI's syntax ------------------------------------------------------------------------------------------

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
    mine, avoided = encode(
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
    assert_close(avoided, reference(theirs, [tokens(theirs, "ugly", 1.1 * 1.1)]))
    plain, _ = encode(ours, "a red circle on white background")
    assert np.abs((mine - plain).numpy()).max() > 0.05


def test_the_weights_of_one_prompt_leave_the_others_of_the_batch_alone(pair):
    ours, _ = pair
    together, _ = encode(ours, ["a (cat:1.5)", "a [dog]"], prompt_syntax="webui")
    for n, prompt in enumerate(("a (cat:1.5)", "a [dog]")):
        alone, _ = encode(ours, prompt, prompt_syntax="webui")
        np.testing.assert_allclose(together[n : n + 1].numpy(), alone.numpy(), atol=1e-5)


def test_break(pair):
    ours, theirs = pair
    mine, _ = encode(ours, "a red circle BREAK (two cats:1.2)", prompt_syntax="webui")
    assert_close(mine, reference(theirs, [tokens(theirs, "a red circle"), tokens(theirs, "two cats", 1.2)]))


@pytest.mark.parametrize("behind", [19, 20])
def test_a_full_chunk_ends_at_a_comma_that_is_near(pair, behind):
    """Within the last twenty tokens of the chunk, the comma's own place counted."""
    ours, theirs = pair
    text = "c " * (ROOM - behind - 1) + ", " + "r " * (behind + 5)
    ids = tokens(theirs, text)
    assert len(ids) == ROOM + 5, "one token each"
    end = ROOM - behind if behind == 19 else ROOM
    mine, _ = encode(ours, text, prompt_syntax="webui")
    assert_close(mine, reference(theirs, [ids[:end], ids[end:]]))
    plain, _ = encode(ours, text)
    assert_close(plain, reference(theirs, [ids[:ROOM], ids[ROOM:]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_syntax": "compel"}, "'plain' or 'webui', not 'compel'"),
        ({"long_prompts": "cut"}, "'split' or 'truncate', not 'cut'"),
        ({"prompt_syntax": "webui", "long_prompts": "truncate"}, "the web UI splits them"),
    ],
)
def test_unknown_ways(pair, settings, message):
    with pytest.raises(InputError, match=message):
        pair[0]("a", num_inference_steps=1, **settings)
