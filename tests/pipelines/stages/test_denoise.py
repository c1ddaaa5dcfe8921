"""The denoiser, the denoising loop, and the decorator of calls."""

import numpy as np
import paddle
import pytest

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.denoise import DenoisingLoop, GuidedPrediction, StepCallbacks, UNetDenoiser, inference
from tests.pipelines.stages.support import FakePipeline, HalvingScheduler, RecordingUNet
from tests.support.parity import noise

LATENTS = paddle.to_tensor(noise((2, 4, 3, 5)))


def embeds(*values):
    """Embeddings [2 * len(values), 7, 6], constant for each condition."""
    return paddle.concat([paddle.full([2, 7, 6], value) for value in values])


@pytest.mark.parametrize("values", [(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0)])
def test_one_prediction_for_each_condition(values):
    unet = RecordingUNet()
    predictions = UNetDenoiser(unet, HalvingScheduler())(LATENTS, 7, embeds(*values))
    assert predictions.shape == [2 * len(values), 4, 3, 5]
    for value, prediction in zip(values, predictions.chunk(len(values)), strict=True):
        np.testing.assert_allclose(prediction.numpy(), LATENTS.numpy() / 2 + value, rtol=1e-5)
    assert len(unet.calls) == 1 and unet.calls[0]["timestep"] == 7


def test_extra_channels_are_not_scaled():
    unet, mask = RecordingUNet(), paddle.ones([4, 1, 3, 5])
    UNetDenoiser(unet, HalvingScheduler(), extra_channels=(mask, mask))(LATENTS, 7, embeds(1.0, 2.0))
    sample = unet.calls[0]["sample"].numpy()
    assert sample.shape == (4, 6, 3, 5)
    np.testing.assert_array_equal(sample[:, 4:], 1)


def test_arguments_of_the_unet():
    unet = RecordingUNet()
    denoiser = UNetDenoiser(unet, HalvingScheduler(), timestep_cond="scale", cross_attention_kwargs={"scale": 1})
    denoiser(LATENTS, 7, embeds(1.0), class_labels="labels")
    call = unet.calls[0]
    assert call["timestep_cond"] == "scale" and call["cross_attention_kwargs"] == {"scale": 1}
    assert call["class_labels"] == "labels" and call["return_dict"] is False


# -- loop ---------------------------------------------------------------------------------------------------------


def run(loop, change=lambda latents: latents + 1, **tensors):
    """Run a loop from zeros: (final latents, indices of the steps)."""
    latents, indices = paddle.zeros([1, 1, 2, 2]), []
    for i, t in loop.steps():
        indices.append(i)
        latents, *_ = loop.end_step(i, t, latents=change(latents), **tensors)
    return latents, indices


def test_steps_and_progress():
    pipeline = FakePipeline()
    latents, indices = run(DenoisingLoop(pipeline, np.array([9, 5, 1]), 3))
    assert indices == [0, 1, 2] and float(latents.max()) == 3
    assert pipeline.total == pipeline.updates == 3


def test_progress_of_a_scheduler_of_second_order():
    pipeline = FakePipeline(order=2)
    _, indices = run(DenoisingLoop(pipeline, np.arange(5), 3))
    assert len(indices) == 5 and pipeline.updates == 3


def test_callback_receives_and_replaces_tensors():
    calls = []

    def callback(pipeline, index, timestep, tensors):
        calls.append((index, int(timestep), sorted(tensors)))
        return {"latents": tensors["latents"] * 10} if index == 0 else None

    loop = DenoisingLoop(
        FakePipeline(), np.array([9, 5]), 2, callback_on_step_end=callback, tensor_inputs=["latents", "mask"]
    )
    latents, _ = run(loop, mask=paddle.ones([1]), prompt_embeds=paddle.ones([1]))
    assert float(latents.max()) == 11
    assert calls == [(0, 9, ["latents", "mask"]), (1, 5, ["latents", "mask"])]


def test_end_step_returns_tensors_in_order():
    loop = DenoisingLoop(FakePipeline(), np.array([9]), 1, callback_on_step_end=lambda *_: {"b": 3, "a": 2})
    assert loop.end_step(0, 9, latents=paddle.zeros([1]), a=0, b=1)[1:] == (2, 3)


def test_callback_returns_unknown_tensor():
    loop = DenoisingLoop(FakePipeline(), np.array([9]), 1, callback_on_step_end=lambda *_: {"sample": 0})
    with pytest.raises(InputError, match=r"'sample'(.|\n)*latents, mask"):
        run(loop, mask=paddle.ones([1]))


def test_interruption():
    pipeline = FakePipeline()

    def callback(pipeline, index, timestep, tensors):
        pipeline.interrupt = index == 1

    _, indices = run(DenoisingLoop(pipeline, np.arange(5), 5, callback_on_step_end=callback))
    assert indices == [0, 1] and pipeline.updates == 2


def test_legacy_callback():
    calls = []
    loop = DenoisingLoop(
        FakePipeline(), np.array([9, 7, 5, 3, 1]), 5, callback=lambda *arguments: calls.append(arguments),
        callback_steps=2,
    )  # fmt: skip
    run(loop)
    assert [(index, int(timestep), float(latents.max())) for index, timestep, latents in calls] == [
        (0, 9, 1),
        (2, 5, 3),
        (4, 1, 5),
    ]


def test_first_step_with_nan():
    loop = DenoisingLoop(FakePipeline(), np.array([9, 5, 1]), 3)
    run(loop, change=lambda latents: latents / 0 if float(latents.max()) == 1 else latents + 1)
    assert loop.finite.first_bad() == "denoising step 1 (timestep 5)"


# -- whole loops ------------------------------------------------------------------------------------------------------


def test_guided_prediction_of_conditions():
    """Added embeddings and the arguments of conditions reach the UNet; all conditions see the tensors of the step."""
    unet = RecordingUNet()

    def condition(index, t, tensors):
        return {"down_block_additional_residuals": (index, t, tensors["image"])}

    predict = GuidedPrediction(
        UNetDenoiser(unet, HalvingScheduler()), lambda predictions: predictions.chunk(2)[1], condition,
        lambda index, t, tensors: {"extra_channels": (paddle.ones([4, 1, 3, 5]),)},
    )  # fmt: skip
    tensors = {"latents": LATENTS, "prompt_embeds": embeds(1.0, 2.0), "add_text_embeds": "pooled",
               "add_time_ids": "ids", "image": "edges"}  # fmt: skip
    prediction = predict(3, 7, tensors)
    np.testing.assert_allclose(prediction.numpy(), LATENTS.numpy() / 2 + 2.0, rtol=1e-5)
    (call,) = unet.calls
    assert call["added_cond_kwargs"] == {"text_embeds": "pooled", "time_ids": "ids"}
    assert call["down_block_additional_residuals"] == (3, 7, "edges") and call["sample"].shape == [4, 5, 3, 5]


def test_without_added_embeddings():
    unet = RecordingUNet()
    predict = GuidedPrediction(UNetDenoiser(unet, HalvingScheduler()), lambda prediction: prediction)
    predict(0, 7, {"latents": LATENTS, "prompt_embeds": embeds(1.0)})
    assert "added_cond_kwargs" not in unet.calls[0]


def test_run_with_callbacks():
    """Each step predicts from the tensors that the callback left; `after_step` changes the latents before it."""
    seen = []

    def callback(pipeline, index, t, tensors):
        seen.append(float(tensors["latents"].max()))
        return {"mask": tensors["mask"] + 1}

    callbacks = StepCallbacks(callback, ["latents", "mask"])
    loop = callbacks.loop(FakePipeline(), np.array([9, 5]), 2)
    tensors = loop.run(
        lambda index, t, tensors: tensors["mask"] * 10,
        {"latents": paddle.zeros([1, 1, 2, 2]), "mask": paddle.ones([1, 1, 1, 1])},
        {"generator": None},
        lambda index, tensors: tensors["latents"] + 0.5,
    )
    assert seen == [10.5, 31.0] and float(tensors["latents"].max()) == 31.0
    assert float(tensors["mask"].max()) == 3


def test_callbacks_of_a_class_name_their_tensors():
    class Callback:
        tensor_inputs = ["prompt_embeds"]

        def __call__(self, pipeline, index, t, tensors):
            return tensors

    assert StepCallbacks(Callback(), ["latents"]).tensor_inputs == ["prompt_embeds"]
    assert len(StepCallbacks(3, ["latents"], callback="print").check()) == 2


# -- decorator ----------------------------------------------------------------------------------------------------


def test_inference_disables_gradients():
    class Pipeline:
        _execution_device = "cpu"
        _offload = None
        compiled = freed = 0

        def maybe_free_model_hooks(self):
            self.freed += 1

        def _compile_when_it_pays(self):
            self.compiled += 1

        @inference
        def __call__(self, value, fail=False):
            """Return the value."""
            assert not paddle.is_grad_enabled()
            if fail:
                raise ValueError
            return value

    pipeline = Pipeline()
    assert pipeline(3) == 3 and pipeline.compiled == 1 and Pipeline.__call__.__doc__ == "Return the value."
    with pytest.raises(ValueError):
        pipeline(3, fail=True)
    assert pipeline.freed == 2
    assert paddle.is_grad_enabled() and paddle.device.get_device() == "cpu"
