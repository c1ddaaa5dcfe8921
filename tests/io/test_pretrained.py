"""from_pretrained and save_pretrained of a small network: files and their order, dtypes, errors, LazyGuard."""

import copy
import json
import os
import pickle

import numpy as np
import paddle
import pytest
import safetensors.torch
import torch
from paddle import nn

from ppdiffusers.core.config import ConfigMixin, register_to_config
from ppdiffusers.core.errors import ConfigError, InputError, SourceError, UnsafeFileError, WeightsError
from ppdiffusers.core.tensors import bfloat16_to_float32
from ppdiffusers.io import half_precision, pretrained
from ppdiffusers.io.pretrained import PretrainedMixin, load_config_from, parse_size
from ppdiffusers.io.weights import open_weights, write_safetensors
from tests.io.toy import Toy, assert_same_state, torch_state, toy


def files(folder) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - {"config.json"}


def save_torch(folder, layer, name="diffusion_pytorch_model.safetensors") -> None:
    """Write the file that diffusers would write for this network."""
    folder.mkdir(parents=True, exist_ok=True)
    layer.save_config(folder)
    state = torch_state(layer)
    if name.endswith(".safetensors"):
        safetensors.torch.save_file({k: v.clone() for k, v in state.items()}, folder / name, {"format": "pt"})
    else:
        torch.save(state, folder / name)


# -- save and load --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"safe_serialization": False}, {"to_diffusers": True}])
@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("max_shard_size", ["10GB", 100])
def test_save_and_load(tmp_path, options, variant, max_shard_size):
    model = toy()
    model.save_pretrained(tmp_path, variant=variant, max_shard_size=max_shard_size, **options)
    loaded = Toy.from_pretrained(tmp_path, variant=variant)
    assert_same_state(loaded, model)
    assert any(name.endswith(f"index{'.fp16' if variant else ''}.json") for name in files(tmp_path)) == (
        max_shard_size == 100
    )
    if variant:
        with pytest.raises(SourceError):
            Toy.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"])
def test_pytorch_files_load_without_a_flag(tmp_path, name):
    model = toy()
    save_torch(tmp_path, model, name)
    assert_same_state(Toy.from_pretrained(tmp_path), model)


def test_to_diffusers_writes_the_layout_of_pytorch(tmp_path):
    model = toy()
    model.save_pretrained(tmp_path, to_diffusers=True)
    assert files(tmp_path) == {"diffusion_pytorch_model.safetensors"}
    written = safetensors.torch.load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    expected = torch_state(model)
    assert set(written) == set(expected)
    assert all(torch.equal(written[key], expected[key]) for key in expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_conversion_to_the_layout_of_pytorch_keeps_all_bits(tmp_path, dtype, half_kernels):
    model = toy().to(dtype=dtype)
    model.save_pretrained(tmp_path / "pd")
    Toy.from_pretrained(tmp_path / "pd", paddle_dtype="auto").save_pretrained(tmp_path / "pt", to_diffusers=True)
    back = Toy.from_pretrained(tmp_path / "pt", paddle_dtype="auto")
    assert_same_state(back, model)
    assert back.dtype == getattr(paddle, dtype)


@pytest.mark.parametrize(
    "options", [{"safe_serialization": False}, {"safe_serialization": False, "max_shard_size": 100}]
)
def test_paddle_load_reads_our_pdparams(tmp_path, options, half_kernels):
    model = toy().to(dtype="bfloat16")
    model.save_pretrained(tmp_path, **options)
    state = {}
    for path in tmp_path.glob("*.pdparams"):
        state.update(paddle.load(str(path)))
    other = Toy().to(dtype="bfloat16")
    assert other.set_state_dict(state) == ([], [])
    assert_same_state(other, model)


def test_files_of_paddle_save_load(tmp_path):
    model = toy()
    model.save_config(tmp_path)
    paddle.save(model.state_dict(), str(tmp_path / "model_state.pdparams"))
    assert_same_state(Toy.from_pretrained(tmp_path), model)


# -- dtypes ---------------------------------------------------------------------------------------------------


def test_float32_is_the_default(tmp_path, half_kernels):
    model = toy().to(dtype="bfloat16")
    model.save_pretrained(tmp_path)
    loaded = Toy.from_pretrained(tmp_path)
    assert loaded.dtype == paddle.float32
    expected = bfloat16_to_float32(model.square.weight.numpy())
    assert np.array_equal(loaded.square.weight.numpy(), expected)
    assert loaded.ids.dtype == paddle.int64


@pytest.mark.parametrize("argument", ["paddle_dtype", "torch_dtype", "dtype"])
@pytest.mark.parametrize("dtype", ["float16", paddle.bfloat16, torch.bfloat16, np.float16])
def test_requested_dtype(tmp_path, argument, dtype, half_kernels):
    model = toy()
    model.save_pretrained(tmp_path)
    loaded = Toy.from_pretrained(tmp_path, **{argument: dtype})
    expected = paddle.float16 if "float16" in str(dtype) and "bfloat" not in str(dtype) else paddle.bfloat16
    assert {p.dtype for p in loaded.parameters()} == {expected}
    assert np.array_equal(loaded.oblong.weight.numpy(), model.oblong.weight.astype(expected).numpy())


def test_an_integer_dtype_is_an_error(tmp_path):
    toy().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="int64"):
        Toy.from_pretrained(tmp_path, paddle_dtype="int64")


# -- which file -----------------------------------------------------------------------------------------------


def with_scale(value: float) -> Toy:
    model = toy()
    model.scale.set_value(np.float32([value]))
    return model


def test_order_of_files(tmp_path):
    save_torch(tmp_path, with_scale(1), "diffusion_pytorch_model.bin")
    order = [1.0]
    save_torch(tmp_path, with_scale(2))
    order.append(float(Toy.from_pretrained(tmp_path).scale))
    with_scale(3).save_pretrained(tmp_path, safe_serialization=False)
    order.append(float(Toy.from_pretrained(tmp_path).scale))
    with_scale(4).save_pretrained(tmp_path)
    order.append(float(Toy.from_pretrained(tmp_path).scale))
    assert order == [1, 2, 3, 4]
    assert float(Toy.from_pretrained(tmp_path, use_safetensors=False).scale) == 3
    (tmp_path / "model_state.safetensors").unlink()
    assert float(Toy.from_pretrained(tmp_path, use_safetensors=True).scale) == 2
    (tmp_path / "model_state.pdparams").unlink()
    assert float(Toy.from_pretrained(tmp_path, use_safetensors=False).scale) == 1


def test_other_variants_are_not_loaded(tmp_path):
    toy().save_pretrained(tmp_path, variant="ema")
    for variant in (None, "fp16"):
        with pytest.raises(SourceError) as caught:
            Toy.from_pretrained(tmp_path, variant=variant)
        assert "present: model_state.ema.safetensors" in caught.value.problems


@pytest.mark.parametrize("use_safetensors", [True, False])
def test_use_safetensors_is_respected(tmp_path, use_safetensors):
    toy().save_pretrained(tmp_path, safe_serialization=not use_safetensors)
    with pytest.raises(SourceError, match="safetensors" if use_safetensors else "pickles"):
        Toy.from_pretrained(tmp_path, use_safetensors=use_safetensors)


@pytest.mark.parametrize(
    "index",
    ["diffusion_pytorch_model.safetensors.index.fp16.json", "diffusion_pytorch_model.fp16.safetensors.index.json"],
)
def test_both_names_of_the_index_of_a_variant(tmp_path, index):
    model = toy()
    save_torch(tmp_path, model, "shard.safetensors")
    weight_map = dict.fromkeys(model.state_dict(), "shard.safetensors")
    (tmp_path / index).write_text(json.dumps({"weight_map": weight_map}))
    assert_same_state(Toy.from_pretrained(tmp_path, variant="fp16"), model)


def test_missing_folders(tmp_path):
    toy().save_pretrained(tmp_path / "unet")
    assert_same_state(Toy.from_pretrained(tmp_path, subfolder="unet"), toy())
    with pytest.raises(SourceError, match="unet"):
        Toy.from_pretrained(tmp_path, subfolder="vae")
    with pytest.raises(SourceError, match="model folder does not exist"):
        Toy.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="a file"):
        Toy.from_pretrained(tmp_path / "unet" / "config.json")


# -- configuration --------------------------------------------------------------------------------------------


def test_config_overrides_and_legacy_arguments(tmp_path):
    toy(out=9).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "out": 5}))
    with pytest.raises(WeightsError, match="oblong"):
        Toy.from_pretrained(tmp_path)
    loaded = Toy.from_pretrained(
        tmp_path, out=9, from_diffusers=True, from_hf_hub=True, low_cpu_mem_usage=True, local_files_only=True
    )
    assert loaded.config.out == 9


def test_unknown_arguments_are_ignored_with_a_warning(tmp_path, caplog):
    toy().save_pretrained(tmp_path)
    Toy.from_pretrained(tmp_path, widht=4, offload_state_dict=True, max_memory={0: 1}, provider="x", use_onnx=None)
    assert "widht=4" in caplog.text and "provider" not in caplog.text and "max_memory" not in caplog.text
    Toy.from_pretrained(tmp_path, use_onnx=True)
    assert "use_onnx=True" in caplog.text


def test_loading_info(tmp_path):
    model = toy()
    state = {**torch_state(model), "text.position_ids": torch.arange(3)}
    model.save_config(tmp_path)
    safetensors.torch.save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    loaded, info = Toy.from_pretrained(tmp_path, output_loading_info=True)
    assert_same_state(loaded, model)
    empty = {"missing_keys": [], "mismatched_keys": [], "error_msgs": []}
    assert info == {**empty, "unexpected_keys": ["text.position_ids"]}


def test_eight_bit_weights_are_cast_exactly(tmp_path):
    model = toy()
    model.save_config(tmp_path)
    exact = torch_state(model)
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in exact.items()}
        state["text.position_ids"] = torch.zeros(3, dtype=torch.uint16)
        safetensors.torch.save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
        for asked in (None, "auto"):
            loaded = Toy.from_pretrained(tmp_path, paddle_dtype=asked)
            assert np.array_equal(loaded.oblong.bias.numpy(), state["oblong.bias"].float().numpy())


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_needed_tensor_of_an_unsupported_dtype_is_named(tmp_path, suffix):
    model = toy()
    model.save_config(tmp_path)
    state = {**torch_state(model), "oblong.bias": torch.zeros(6, dtype=torch.uint16)}
    name = tmp_path / f"diffusion_pytorch_model.{suffix}"
    safetensors.torch.save_file(state, name) if suffix == "safetensors" else torch.save(state, name)
    with pytest.raises(WeightsError, match=r"dtype: oblong.bias is uint16, expected float32"):
        Toy.from_pretrained(tmp_path)


@pytest.mark.parametrize("options", [{"safe_serialization": False}, {"to_diffusers": True}, {"max_shard_size": 100}])
def test_half_precision_on_a_cpu_is_held_in_float32(tmp_path, options):
    model = toy()
    model.save_pretrained(tmp_path / "exact")
    for dtype in ("float16", "bfloat16"):
        loaded = Toy.from_pretrained(tmp_path / "exact", torch_dtype=getattr(torch, dtype))
        cast = toy().to(dtype)
        rounded = model.oblong.weight.astype(dtype).astype("float32").numpy()
        for made in (loaded, cast, pickle.loads(pickle.dumps(cast)), copy.deepcopy(loaded)):
            assert made.dtype == paddle.float32 and made.ids.dtype == paddle.int64
            assert np.array_equal(made.oblong.weight.numpy(), rounded)
            assert made.tied.weight is made.square.weight
        loaded.save_pretrained(tmp_path / dtype, **options)
        written = Toy.from_pretrained(tmp_path / dtype, paddle_dtype="auto")
        assert set(written.saved_dtypes.values()) == {dtype}  # of the files
        assert_same_state(written, loaded)
        assert not written.to("float32").saved_dtypes


def test_half_precision_warns_once(tmp_path, caplog):
    half_precision._warn_once.cache_clear()
    toy().to("float16")
    toy().to("float16")
    assert caplog.text.count("no CPU kernels for float16") == 1


def test_half_precision_returns_where_there_are_kernels(monkeypatch):
    """As when a network is moved to a GPU."""
    model = toy().to("float16")
    before = model.oblong.weight.numpy()
    monkeypatch.setattr("ppdiffusers.utils.dtypes.lacks_half_precision", lambda place: False)
    assert model.to("cpu").dtype == paddle.float16 and not model.saved_dtypes
    assert np.array_equal(model.oblong.weight.astype("float32").numpy(), before)


def test_legacy_name_of_the_configuration(tmp_path):
    toy(out=9).save_pretrained(tmp_path)
    (tmp_path / "config.json").rename(tmp_path / "model_config.json")
    assert Toy.from_pretrained(tmp_path).config.out == 9
    (tmp_path / "model_config.json").unlink()
    with pytest.raises(ConfigError, match="config.json"):
        load_config_from(tmp_path, "config.json")


# -- weights that do not fit---------------------------------------------------------------------------------------


def change_weights(folder, change) -> None:
    tensors = safetensors.torch.load_file(folder / "diffusion_pytorch_model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})


def test_one_error_lists_all_problems(tmp_path):
    save_torch(tmp_path, toy())

    def change(tensors):
        del tensors["norm.bias"], tensors["convolution.weight"]
        tensors["unknown"] = torch.zeros(1)
        tensors["oblong.weight"] = torch.zeros(7, 4)
        tensors["scale"] = torch.zeros(())
        tensors["ids"] = torch.zeros(4)

    change_weights(tmp_path, change)
    with pytest.raises(WeightsError) as caught:
        Toy.from_pretrained(tmp_path)
    assert caught.value.problems == [
        "missing: convolution.weight (2, 3, 3, 3)",
        "missing: norm.bias (4,)",
        "unexpected: unknown (1,)",
        "shape: oblong.weight is (4, 7), expected (4, 6)",
        "shape: scale is (), expected (1,)",
        "dtype: ids is float32, expected int64",
    ]
    message = str(caught.value)
    assert "Toy" in message
    assert "diffusion_pytorch_model.safetensors" in message


def test_a_tied_weight_can_be_stored_once(tmp_path):
    for lost in ("tied.weight", "square.weight"):
        model = toy()
        save_torch(tmp_path, model)
        change_weights(tmp_path, lambda tensors, lost=lost: tensors.pop(lost))
        loaded = Toy.from_pretrained(tmp_path)
        assert_same_state(loaded, model)
        assert loaded.tied.weight is loaded.square.weight


def test_ignored_keys(tmp_path):
    class Lenient(Toy):
        ignore_missing = (r"^norm\.",)

    save_torch(tmp_path, toy())

    def change(tensors):
        del tensors["norm.bias"], tensors["norm.weight"]
        tensors["x.position_ids"] = torch.zeros(1)

    change_weights(tmp_path, change)
    loaded = Lenient.from_pretrained(tmp_path)
    assert loaded.norm.weight.tolist() == [1.0] * 4  # the initial value of nn.GroupNorm
    assert loaded.norm.bias.tolist() == [0.0] * 4
    with pytest.raises(WeightsError, match="norm.bias"):
        Toy.from_pretrained(tmp_path)


def test_hostile_pickle(tmp_path):
    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    toy().save_config(tmp_path)
    torch.save({"square.weight": torch.zeros(1), "x": Runs()}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(UnsafeFileError, match="system"):
        Toy.from_pretrained(tmp_path)
    assert not (tmp_path / "ran").exists()


# -- LazyGuard ------------------------------------------------------------------------------------------------


def loaded_and_built(folder) -> tuple[Toy, Toy]:
    built = toy()
    built.save_pretrained(folder)
    return Toy.from_pretrained(folder), built


def test_a_loaded_network_equals_a_built_one(tmp_path):
    loaded, built = loaded_and_built(tmp_path)
    assert_same_state(loaded, built)
    assert not loaded.training
    for ours, theirs in zip(loaded.parameters(), built.parameters(), strict=True):
        assert type(ours) is type(theirs)
        for name in ("trainable", "stop_gradient", "persistable", "is_leaf", "place", "need_clip"):
            assert getattr(ours, name) == getattr(theirs, name), name
    x = paddle.rand([3, 4])
    assert np.array_equal(loaded(x).numpy(), built(x).numpy())


def test_loading_draws_no_random_numbers(tmp_path):
    toy().save_pretrained(tmp_path)
    paddle.seed(7)
    before = paddle.get_rng_state()[0].current_seed(), paddle.rand([1]).item()
    paddle.seed(7)
    Toy.from_pretrained(tmp_path)
    assert (7, paddle.rand([1]).item()) == before


def test_casting_copying_and_pickling(tmp_path):
    loaded, built = loaded_and_built(tmp_path)
    for copied in (copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert_same_state(copied, built)
        copied.square.weight.set_value(np.zeros((4, 4), "float32"))
    assert_same_state(loaded, built)
    for dtype in ("bfloat16", "float16", "float32"):
        assert_same_state(loaded.to(dtype=dtype), built.to(dtype=dtype))


def test_training_a_loaded_network(tmp_path):
    loaded, built = loaded_and_built(tmp_path)
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal((5, 4)).astype("float32"))
    for model in (loaded, built):
        model.train()
        optimizer = paddle.optimizer.AdamW(0.1, parameters=model.parameters())
        for _ in range(3):
            (model(x) ** 2).mean().backward()
            optimizer.step()
            optimizer.clear_grad()
    assert_same_state(loaded, built)
    assert not np.array_equal(loaded.square.weight.numpy(), toy().square.weight.numpy())


def test_layers_with_initializers(tmp_path):
    class Setting(Toy):
        @register_to_config
        def __init__(self, width: int = 4):
            super().__init__()
            nn.initializer.Constant(3.0)(self.square.weight)
            nn.initializer.Constant(0.5)(self.norm.bias)
            self.mean = self.create_parameter([2], default_initializer=nn.initializer.Assign(np.float32([1, 2])))
            self.register_buffer("table", paddle.arange(3, dtype="float32") / 2, persistable=False)

    model = Setting()
    model.square.weight.set_value(np.eye(4, dtype="float32"))
    model.save_pretrained(tmp_path)
    loaded = Setting.from_pretrained(tmp_path)
    assert_same_state(loaded, model)
    assert loaded.table.tolist() == [0.0, 0.5, 1.0]


# -- saving ---------------------------------------------------------------------------------------------------


def test_the_last_save_is_loaded(tmp_path):
    """After saves in every combination of formats, loading returns the values of the last one."""
    forms = [
        {"max_shard_size": 100},
        {},
        {"safe_serialization": False, "max_shard_size": 200},
        {"safe_serialization": False},
        {"to_diffusers": True, "max_shard_size": 150},
        {"to_diffusers": True},
    ]
    for number, before in enumerate(forms):
        for after in forms:
            folder = tmp_path / str(number) / str(forms.index(after))
            with_scale(1).save_pretrained(folder, **before)
            with_scale(2).save_pretrained(folder, **after)
            assert float(Toy.from_pretrained(folder).scale) == 2, (before, after)


def test_a_configuration_creates_the_network_and_its_values_are_attributes(tmp_path):
    toy(out=9).save_pretrained(tmp_path)
    model = Toy.from_pretrained(tmp_path)
    assert model.config._class_name == "Toy" and model.config.out == 9
    again = Toy(**model.config)
    assert again.config.out == 9 and list(again.state_dict()) == list(model.state_dict())
    with pytest.warns(FutureWarning, match=r"config\.out"):
        assert model.out == 9
    with pytest.raises(AttributeError, match="'Toy' object has no attribute 'nothing'"):
        model.nothing
    assert "(square): Linear" in repr(model)  # the layers, not the configuration


def test_stale_shards_are_removed_and_other_files_are_not(tmp_path):
    model = toy()
    model.save_pretrained(tmp_path, variant="ema")
    save_torch(tmp_path, model)
    (tmp_path / "notes.txt").write_text("mine")
    kept = files(tmp_path)
    model.save_pretrained(tmp_path, max_shard_size=100)
    assert len(files(tmp_path) - kept) > 3
    model.save_pretrained(tmp_path)
    assert files(tmp_path) == kept | {"model_state.safetensors"}


def test_shards_respect_the_size(tmp_path):
    toy().save_pretrained(tmp_path, max_shard_size="0.2KB")
    sizes = [sum(t.nbytes for t in open_weights(p).values()) for p in tmp_path.glob("*.safetensors")]
    largest = max(p.numel().item() * 4 for p in toy().parameters())
    assert len(sizes) > 1
    assert max(sizes) <= max(200, largest)
    index = json.loads((tmp_path / "model_state.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(sizes)


@pytest.mark.parametrize("options", [{}, {"max_shard_size": 100}, {"safe_serialization": False, "max_shard_size": 100}])
def test_a_full_disk_leaves_the_earlier_save(tmp_path, monkeypatch, options):
    with_scale(1).save_pretrained(tmp_path, **options)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    real, calls = pretrained._lazy, []

    def failing(tensor):
        calls.append(tensor)
        lazy = real(tensor)
        if len(calls) == 9:

            def full():
                raise OSError(28, "No space left on device")

            return type(lazy)(lazy.dtype, lazy.shape, full)
        return lazy

    monkeypatch.setattr(pretrained, "_lazy", failing)
    with pytest.raises(OSError, match="No space left"):
        with_scale(2).save_pretrained(tmp_path, **options)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_arguments_of_saving(tmp_path):
    model = toy()
    model.save_pretrained(tmp_path / "a", is_main_process=False)
    assert not (tmp_path / "a").exists()
    model.save_pretrained(tmp_path / "a", is_main_process=True, push_to_hub=False)
    with pytest.raises(InputError, match="nonsense"):
        model.save_pretrained(tmp_path, nonsense=1)
    with pytest.raises(InputError, match="safetensors only"):
        model.save_pretrained(tmp_path, to_diffusers=True, safe_serialization=False)
    with pytest.raises(InputError, match="max_shard_size"):
        model.save_pretrained(tmp_path, max_shard_size="ten")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10GB", 10**10), ("1.5 MB", 1_500_000), ("2GiB", 2**31), (7, 7), ("3kb", 3000), ("5MIB", 5 * 2**20)],
)
def test_sizes(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1TBB", "1e3"])
def test_invalid_sizes(text):
    with pytest.raises(InputError):
        parse_size(text)


@pytest.mark.parametrize("arguments", [("float16",), (paddle.float16,), ("cpu", "float16"), (None, paddle.float16)])
def test_to_casts_floating_values_only(arguments, half_kernels):
    model = toy()
    assert model.to(*arguments) is model
    assert {p.dtype for p in model.parameters()} == {paddle.float16}
    assert model.ids.dtype == paddle.int64
    assert model.tied.weight is model.square.weight
    assert model.to("cpu").to(device="cpu").dtype == paddle.float16
    assert model.to(dtype="float32").dtype == paddle.float32
    with pytest.raises(InputError, match="nonsense"):
        model.to("nonsense")


def test_properties():
    model = toy()
    assert model.dtype == paddle.float32
    assert model.device == paddle.CPUPlace()
    total = sum(int(np.prod(p.shape)) for p in model.parameters())
    assert model.num_parameters() == total
    assert model.num_parameters(only_trainable=True) == total - 2  # `frozen`


def test_old_attention_names(tmp_path):
    """The names of the attention in an SD 1.x VAE."""

    class Attention(nn.Layer):
        def __init__(self):
            super().__init__()
            self.group_norm = nn.GroupNorm(1, 4)
            self.to_q, self.to_k, self.to_v = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.to_out = nn.LayerList([nn.Linear(4, 4), nn.Dropout(0.0)])

    class Vae(PretrainedMixin, ConfigMixin, nn.Layer):
        config_name = "config.json"
        key_mappings = ("old_attention",)

        @register_to_config
        def __init__(self, width: int = 4):
            super().__init__()
            self.mid_block = nn.Layer()
            self.mid_block.attentions = nn.LayerList([Attention()])

    model = Vae()
    model.save_config(tmp_path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = {}
    for key, value in model.state_dict().items():
        array = value.numpy()
        name = key
        for new_name, old_name in old.items():
            name = name.replace(f".{new_name}.", f".{old_name}.")
        state[name] = torch.from_numpy(np.ascontiguousarray(array.T if array.ndim == 2 else array))
    assert "mid_block.attentions.0.proj_attn.weight" in state
    safetensors.torch.save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    assert_same_state(Vae.from_pretrained(tmp_path), model)
    # A 1x1 convolution instead of a matrix is an error: its axes are not dropped.
    name = "mid_block.attentions.0.query.weight"
    state[name] = state[name][:, :, None, None].contiguous()
    safetensors.torch.save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(WeightsError, match=r"to_q.weight is \(4, 4, 1, 1\), expected \(4, 4\)"):
        Vae.from_pretrained(tmp_path)


def test_the_layout_of_paddle_is_not_transposed(tmp_path):
    model = toy()
    model.save_config(tmp_path)
    write_safetensors(
        tmp_path / "diffusion_pytorch_model.safetensors", pretrained.lazy_state_dict(model), {"format": "pd"}
    )
    assert_same_state(Toy.from_pretrained(tmp_path), model)
