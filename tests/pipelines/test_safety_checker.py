"""The safety checker against that of diffusers, alone and in a pipeline."""

import numpy as np
import paddle
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker as Original

from ppdiffusers import StableDiffusionSafetyChecker
from tests.pipelines.support import PROMPTS, assert_images_agree, assert_levels_agree, call_both, load_both
from tests.support.checkpoints import tiny_safety_checker, tiny_stable_diffusion
from tests.support.parity import noise, rng_for


@pytest.fixture(scope="module")
def checkers(tmp_path_factory):
    """Random thresholds with which some images are flagged, some match special care concepts, some neither."""
    theirs = tiny_safety_checker("random", 3)
    with torch.no_grad():
        theirs.concept_embeds_weights.copy_(torch.from_numpy(rng_for("t").uniform(0.2, 0.45, 17)))
        theirs.special_care_embeds_weights.copy_(torch.from_numpy(rng_for("s").uniform(0.1, 0.3, 3)))
    folder = tmp_path_factory.mktemp("checker")
    theirs.save_pretrained(folder)
    return StableDiffusionSafetyChecker.from_pretrained(folder), theirs


def test_keys(checkers):
    ours, theirs = checkers
    assert set(ours.state_dict()) == set(theirs.state_dict())


def test_flags_and_black_images(checkers):
    ours, theirs = checkers
    pixels, images = noise((24, 3, 32, 32), "pixels"), rng_for("images").random((24, 3, 8, 8)).astype(np.float32)
    mine, flags = ours(paddle.to_tensor(pixels), paddle.to_tensor(images))
    reference, expected = theirs(torch.from_numpy(pixels), torch.from_numpy(images.copy()))
    assert flags == expected
    assert 0 < sum(flags) < 24, "the thresholds should flag some of the images"
    np.testing.assert_array_equal(mine.numpy(), reference.numpy())
    arrays, flags = ours(paddle.to_tensor(pixels), images)
    np.testing.assert_array_equal(arrays, reference.numpy())
    listed, flags = ours(paddle.to_tensor(pixels), list(images))
    np.testing.assert_array_equal(np.stack(listed), reference.numpy())


def test_cosine_similarities(checkers):
    ours, theirs = checkers
    pixels = noise((5, 3, 32, 32), "pixels")
    with torch.no_grad():
        embeds = theirs.visual_projection(theirs.vision_model(torch.from_numpy(pixels))[1]).numpy()
    special, concepts = ours.cosine_similarities(paddle.to_tensor(pixels))
    for found, vectors in ((special, theirs.special_care_embeds), (concepts, theirs.concept_embeds)):
        vectors = vectors.detach().numpy()
        expected = embeds @ vectors.T / np.linalg.norm(embeds, axis=1)[:, None] / np.linalg.norm(vectors, axis=1)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_special_care_lowers_all_thresholds(tmp_path):
    """An image just below the threshold of a concept is flagged if it matches a special care concept."""
    theirs = tiny_safety_checker("nothing", 3)
    pixels = noise((1, 3, 32, 32), "pixels")
    with torch.no_grad():
        embeds = theirs.visual_projection(theirs.vision_model(torch.from_numpy(pixels))[1])
        cosine = torch.nn.functional.cosine_similarity(embeds, theirs.concept_embeds[:1])
        theirs.concept_embeds_weights[0] = cosine + 0.005
    images = np.ones((1, 3, 8, 8), np.float32)
    for special, expected in ((2.0, False), (-2.0, True)):
        torch.nn.init.constant_(theirs.special_care_embeds_weights, special)
        theirs.save_pretrained(tmp_path)
        ours = StableDiffusionSafetyChecker.from_pretrained(tmp_path)
        assert ours(paddle.to_tensor(pixels), images)[1] == [expected]
        assert theirs(torch.from_numpy(pixels), torch.from_numpy(images.copy()))[1] == [expected]


def test_saved_for_diffusers(checkers, tmp_path):
    ours, theirs = checkers
    ours.save_pretrained(tmp_path / "theirs", to_diffusers=True)
    again = Original.from_pretrained(tmp_path / "theirs")
    for key, value in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    ours.save_pretrained(tmp_path / "ours")
    reloaded = StableDiffusionSafetyChecker.from_pretrained(tmp_path / "ours")
    assert reloaded.config.projection_dim == 24
    for key, value in ours.state_dict().items():
        assert paddle.equal_all(reloaded.state_dict()[key], value), key


@pytest.mark.parametrize("flags", ["nothing", "everything"])
def test_in_the_pipeline(tmp_path, flags, caplog):
    pair = load_both(tiny_stable_diffusion(tmp_path, safety_checker=True if flags == "nothing" else flags))
    arguments = {"seed": 5, "prompt": PROMPTS, "num_images_per_prompt": 2, "num_inference_steps": 3}
    mine, reference = call_both(*pair, **arguments, output_type="np")
    assert mine.nsfw_content_detected == reference.nsfw_content_detected
    assert len(mine.nsfw_content_detected) == 4
    if flags == "everything":
        assert all(mine.nsfw_content_detected) and not mine.images.any() and not reference.images.any()
        assert "4 of 4 images" in caplog.text
    else:
        assert_images_agree(mine.images, reference.images)
    mine, reference = call_both(*pair, **arguments)
    for image, expected in zip(mine.images, reference.images, strict=True):
        assert_levels_agree(np.asarray(image), np.asarray(expected))
    images, flagged = pair[0](**{k: v for k, v in arguments.items() if k != "seed"}, generator=5, return_dict=False)
    assert len(images) == len(flagged) == 4


def test_one_flagged_image_of_a_batch(tmp_path):
    """The threshold of one concept is between the similarities of the two images."""
    ours, theirs = load_both(tiny_stable_diffusion(tmp_path))
    arguments = {"seed": 5, "prompt": PROMPTS, "num_inference_steps": 3}
    clean, reference = call_both(ours, theirs, **arguments)
    pixels = theirs.feature_extractor(reference.images, return_tensors="pt").pixel_values
    checker = theirs.safety_checker
    with torch.no_grad():
        embeds = checker.visual_projection(checker.vision_model(pixels)[1])
        cosines = torch.nn.functional.cosine_similarity(embeds[:, None], checker.concept_embeds[None], dim=-1)
        concept = int((cosines[0] - cosines[1]).abs().argmax())
        checker.concept_embeds_weights[concept] = cosines[:, concept].mean()
    weights = checker.concept_embeds_weights.detach().numpy()
    ours.safety_checker.concept_embeds_weights.set_value(paddle.to_tensor(weights))
    mine, reference = call_both(ours, theirs, **arguments)
    assert mine.nsfw_content_detected == reference.nsfw_content_detected
    assert sorted(mine.nsfw_content_detected) == [False, True]
    for n, flagged in enumerate(mine.nsfw_content_detected):
        expected = np.zeros((32, 32, 3)) if flagged else np.asarray(clean.images[n])
        np.testing.assert_array_equal(np.asarray(mine.images[n]), expected)
        assert_levels_agree(np.asarray(mine.images[n]), np.asarray(reference.images[n]))


def test_arrays(tmp_path):
    ours, theirs = load_both(tiny_stable_diffusion(tmp_path, safety_checker="everything"))
    images = rng_for("images").random((2, 32, 32, 3)).astype(np.float32)
    mine, flags = ours.run_safety_checker(images, ours.device, paddle.float32)
    reference, expected = theirs.run_safety_checker(images.copy(), theirs.device, torch.float32)
    assert flags == expected == [True, True]
    np.testing.assert_array_equal(mine, reference)
