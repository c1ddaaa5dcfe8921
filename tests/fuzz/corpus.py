"""The files that are mutated, each with the function that loads it."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file, save_file

import ppdiffusers
import ppdiffusers.transformers
from ppdiffusers import registry
from ppdiffusers.conversion.options import check_options
from ppdiffusers.conversion.original import make_original_plan
from ppdiffusers.conversion.plan import make_plan
from ppdiffusers.convert.model_index import parse_model_index
from ppdiffusers.io.cached import list_models, verify_folder
from ppdiffusers.io.http_client import FetchError, HttpClient
from ppdiffusers.io.hubs import HUBS
from ppdiffusers.io.required_files import AllFiles
from ppdiffusers.io.snapshot import cache_root
from ppdiffusers.io.weights import open_weights
from ppdiffusers.runtime import cache as program_cache
from tests.fuzz.folders import FolderTarget
from tests.fuzz.mutations import MUTATIONS, make_hostile
from tests.io.hub.servers import PROTOCOLS
from tests.support import originals
from tests.support.bert import tiny_bert_tokenizer
from tests.support.checkpoints import tiny_controlnet, tiny_ddpm, tiny_stable_diffusion
from tests.support.ip_adapter import ip_adapter_tensors, save_ip_adapter, tiny_image_encoder
from tests.support.lora import ATTENTION, TEXT, save_peft_lora
from tests.support.single_files import original_tensors, tiny_pipeline, write_single_file
from tests.support.stable_diffusion_2 import tiny_depth_estimator
from tests.support.stable_diffusion_xl import tiny_xl_controlnet_union
from tests.support.t2i_adapters import tiny_adapter
from tests.support.t5 import tiny_t5, tiny_t5_tokenizer
from tests.support.unclip import PRIOR
from tests.support.xlm_roberta import tiny_xlm_roberta_tokenizer

Loader = Callable[[Path], object]
TEXTS = ["a red circle on a white background", "月光下的竹林 ąę  \n!?", ""]


@dataclass(frozen=True)
class Target:
    """A file to mutate, in a folder that is copied for each case.

    Attributes:
        name: of the file in the report.
        folder: the folder with all files that loading needs.
        file: path of the file in the folder.
        mutation: key of `MUTATIONS`.
        load: loads the copied folder.
        hostile: whether something else than a file may be put in its place.
    """

    name: str
    folder: Path
    file: str
    mutation: str
    load: Loader
    hostile: bool = True

    def run(self, seed: int, folder: Path) -> object:
        """Load a mutation of the file in a copy of the folder."""
        rng = random.Random(f"{self.name}:{seed}")

        def change(path: Path, content: bytes) -> None:
            if self.hostile and rng.random() < 0.03:
                make_hostile(rng, path, content)
            else:
                path.write_bytes(MUTATIONS[self.mutation](rng, content))

        return self.run_with(change, folder)

    def run_with(self, change: Callable[[Path, bytes], object], folder: Path) -> object:
        """Load a copy of the folder in which `change(path, content)` makes the file again."""
        copy = folder / self.folder.name
        shutil.copytree(self.folder, copy, copy_function=os.link, symlinks=True)
        path = copy / self.file
        content = path.read_bytes()
        path.unlink()
        change(path, content)
        return self.load(copy)


def make_targets(folder: Path) -> list[Target | FolderTarget]:
    """Write the files to mutate into `folder`, and list them."""
    sd = tiny_stable_diffusion(folder / "torch", safety_checker=True)
    loaded = ppdiffusers.StableDiffusionPipeline.from_pretrained(sd)
    targets = [
        *_networks(sd, folder),
        *_schedulers(folder),
        *_tokenizers(sd, folder),
        *_others(sd, loaded, folder),
        *_weights(sd, folder),
        *_additions(sd, loaded, folder),
        *_originals(folder),
        *_caches(folder),
        *_hubs(sd, folder),
        *_folders(sd, folder),
    ]
    for n, target in enumerate(targets):  # a target that does not load unchanged tests nothing
        copy = folder / "unchanged" / str(n)
        shutil.copytree(target.folder, copy)
        target.load(copy)
    return targets


# -- networks -----------------------------------------------------------------------------------------------------


def _networks(sd: Path, folder: Path) -> Iterator[Target]:
    ddpm = tiny_ddpm(folder / "torch")
    tiny_depth_estimator().save_pretrained(folder / "dpt")
    vq = ppdiffusers.VQModel(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        num_vq_embeddings=16,
    )
    vq.save_pretrained(folder / "vq")
    one = ppdiffusers.UNet1DModel(
        block_out_channels=(32, 32),
        down_block_types=("DownBlock1DNoSkip", "AttnDownBlock1D"),
        up_block_types=("AttnUpBlock1D", "UpBlock1DNoSkip"),
        extra_in_channels=16,
    )
    one.save_pretrained(folder / "unet1d")
    classes = {
        sd / "unet": ppdiffusers.UNet2DConditionModel,
        sd / "vae": ppdiffusers.AutoencoderKL,
        sd / "text_encoder": ppdiffusers.transformers.CLIPTextModel,
        sd / "safety_checker": registry.find("StableDiffusionSafetyChecker").load(),
        ddpm / "unet": ppdiffusers.UNet2DModel,
        folder / "dpt": ppdiffusers.transformers.DPTForDepthEstimation,
        folder / "vq": ppdiffusers.VQModel,
        folder / "unet1d": ppdiffusers.UNet1DModel,
        **_newer_networks(folder),
    }
    for place, cls in classes.items():
        yield Target(f"config of {cls.__name__}", place, "config.json", "json", cls.from_pretrained)


def _newer_networks(folder: Path) -> dict[Path, type]:
    """Save networks of the newer families; return folder -> class."""
    networks = {
        "ControlNetModel": tiny_controlnet(),
        "ControlNetUnionModel": tiny_xl_controlnet_union(),
        "T2IAdapter": tiny_adapter(),
        "PriorTransformer": diffusers.PriorTransformer(**PRIOR),
        "T5EncoderModel": tiny_t5(),
        "CLIPVisionModelWithProjection": tiny_image_encoder(),
    }
    for name, network in networks.items():
        network.save_pretrained(folder / name)
    return {folder / name: registry.find(name).load() for name in networks}


# -- schedulers ---------------------------------------------------------------------------------------------------


def _schedulers(folder: Path) -> Iterator[Target]:
    for entry in registry.entries("scheduler"):
        cls = entry.load()
        required = {"num_vec_classes": 9} if entry.name.startswith("VQ") else {}
        cls(**required).save_pretrained(folder / entry.name)
        yield Target(
            "config of a scheduler", folder / entry.name, cls.config_name, "json", functools.partial(_schedule, cls)
        )


def _schedule(cls: type, folder: Path) -> None:
    scheduler = cls.from_pretrained(folder)
    try:
        scheduler.set_timesteps(3)
    except ppdiffusers.core.errors.PPDiffusersError:
        return
    repr(scheduler)


# -- tokenizers ---------------------------------------------------------------------------------------------------


def _tokenizers(sd: Path, folder: Path) -> Iterator[Target]:
    library = ppdiffusers.transformers
    library.CLIPTokenizerFast.from_pretrained(sd / "tokenizer").save_pretrained(folder / "clip-fast")
    for name in ("vocab.json", "merges.txt"):
        (folder / "clip-fast" / name).unlink()
    bert = tiny_bert_tokenizer(folder / "bert-files")
    bert.save_pretrained(folder / "bert")
    library.BertTokenizerFast.from_pretrained(folder / "bert").save_pretrained(folder / "bert-fast")
    (folder / "bert-fast" / "vocab.txt").unlink()
    tiny_xlm_roberta_tokenizer(folder / "xlm-files").save_pretrained(folder / "xlm")
    library.XLMRobertaTokenizerFast.from_pretrained(folder / "xlm").save_pretrained(folder / "xlm-fast")
    (folder / "xlm-fast" / "sentencepiece.bpe.model").unlink()
    tiny_t5_tokenizer(folder / "t5-files").save_pretrained(folder / "t5")
    library.T5TokenizerFast.from_pretrained(folder / "t5").save_pretrained(folder / "t5-fast")
    (folder / "t5-fast" / "spiece.model").unlink()
    classes = {
        folder / "t5": library.T5Tokenizer,
        folder / "t5-fast": library.T5TokenizerFast,
        sd / "tokenizer": library.CLIPTokenizer,
        folder / "clip-fast": library.CLIPTokenizerFast,
        folder / "bert": library.BertTokenizer,
        folder / "bert-fast": library.BertTokenizerFast,
        folder / "xlm": library.XLMRobertaTokenizer,
        folder / "xlm-fast": library.XLMRobertaTokenizerFast,
    }
    kinds = {".json": "json", ".txt": "text", ".model": "bytes"}
    for place, cls in classes.items():
        for file in sorted(place.iterdir()):
            name = f"{file.name} of a tokenizer"
            yield Target(name, place, file.name, kinds[file.suffix], functools.partial(_tokenize, cls))


def _tokenize(cls: type, folder: Path) -> None:
    tokenizer = cls.from_pretrained(folder)
    ids = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=77).input_ids
    tokenizer.batch_decode(ids, skip_special_tokens=True)
    repr(tokenizer.all_special_ids)


# -- image processors, pipelines ----------------------------------------------------------------------------------


def _others(sd: Path, loaded: Any, folder: Path) -> Iterator[Target]:
    for cls in (ppdiffusers.transformers.CLIPImageProcessor, ppdiffusers.transformers.DPTImageProcessor):
        place = folder / cls.__name__
        cls(size={"shortest_edge": 32} if cls.__name__.startswith("CLIP") else 32).save_pretrained(place)
        action = functools.partial(_process, cls)
        yield Target("preprocessor_config.json", place, cls.config_file, "json", action)
    given = {name: loaded.components[name] for name in ("unet", "vae", "text_encoder", "safety_checker", "tokenizer")}
    small = folder / "pipeline"
    for name in ("scheduler", "feature_extractor"):
        shutil.copytree(sd / name, small / name)
    shutil.copyfile(sd / "model_index.json", small / "model_index.json")
    (small / "unet").mkdir()
    yield Target(
        "model_index.json",
        small,
        "model_index.json",
        "json",
        lambda path: ppdiffusers.StableDiffusionPipeline.from_pretrained(path, **given),
    )
    yield Target("model_index.json parsed", small, "model_index.json", "json", parse_model_index)
    options = check_options("paddle", None, None)
    place = folder / "to-convert"
    shutil.copytree(sd, place, ignore=shutil.ignore_patterns("*_checker", "feature_extractor"))
    index = json.loads((place / "model_index.json").read_text())
    index |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    (place / "model_index.json").write_text(json.dumps(index))
    for file in ("model_index.json", "unet/config.json"):
        yield Target(f"convert: {Path(file).name}", place, file, "json", lambda path: make_plan(path, options))


def _process(cls: type, folder: Path) -> None:
    cls.from_pretrained(folder)


# -- weights ------------------------------------------------------------------------------------------------------


def _weights(sd: Path, folder: Path) -> Iterator[Target]:
    unet = ppdiffusers.UNet2DConditionModel.from_pretrained(sd / "unet")
    cls = type(unet)
    theirs = load_file(sd / "unet" / "diffusion_pytorch_model.safetensors")
    kinds = {
        "safetensors": {},
        "pdparams": {"safe_serialization": False},
        "shards": {"max_shard_size": "200KB"},
        "pdparams-shards": {"safe_serialization": False, "max_shard_size": "200KB"},
    }
    for name, settings in kinds.items():
        unet.save_pretrained(folder / name, **settings)
    (folder / "torch-zip").mkdir()
    (folder / "torch-plain").mkdir()
    for name, new in (("torch-zip", True), ("torch-plain", False)):
        shutil.copyfile(folder / "safetensors" / "config.json", folder / name / "config.json")
        path = folder / name / "diffusion_pytorch_model.bin"
        torch.save(theirs, path, _use_new_zipfile_serialization=new)
    files = {
        "safetensors/model_state.safetensors": "safetensors",
        "pdparams/model_state.pdparams": "pickle",
        "shards/model_state.safetensors.index.json": "json",
        "shards/model_state-00001-of-*.safetensors": "safetensors",
        "pdparams-shards/model_state.pdparams.index.json": "json",
        "torch-zip/diffusion_pytorch_model.bin": "torch",
        "torch-plain/diffusion_pytorch_model.bin": "pickle",
    }
    load = cls.from_pretrained
    for pattern, kind in files.items():
        file = next(folder.glob(pattern))
        yield Target(f"weights: {pattern.split('/')[0]} {kind}", file.parent, file.name, kind, load)
        yield Target(
            f"weights read: {pattern.split('/')[0]}",
            file.parent,
            file.name,
            kind,
            functools.partial(_read_all, file.name),
        )
    for file, kind in (
        ("pdparams/model_state.pdparams", "hostile pickle"),
        ("torch-zip/diffusion_pytorch_model.bin", "hostile zip"),
        ("torch-plain/diffusion_pytorch_model.bin", "hostile plain"),
    ):
        path = folder / file
        load = functools.partial(_read_all, path.name)
        yield Target(f"hostile pickles: {kind.split()[1]}", path.parent, path.name, kind, load, False)


def _read_all(name: str, folder: Path) -> None:
    """Read every tensor, whatever its name and shape are."""
    checkpoint = open_weights(folder / name)
    for key in list(checkpoint)[:300]:
        checkpoint[key].read()


# -- LoRA, textual inversion --------------------------------------------------------------------------------------


def _additions(sd: Path, loaded: Any, folder: Path) -> Iterator[Target]:
    for safe in (True, False):
        place = folder / f"lora-{safe}"
        file = save_peft_lora(place, sd, unet=ATTENTION, text_encoder=TEXT, safe_serialization=safe)
        kind = "safetensors" if safe else "torch"
        yield Target(f"LoRA: {kind}", place, file.name, kind, functools.partial(_load_lora, loaded, file.name))
    place = folder / "inversion"
    place.mkdir()
    torch.save({"string_to_param": {"*": torch.ones(2, 32)}, "name": "cat"}, place / "concept.pt")
    save_file({"<cat>": torch.ones(2, 32)}, place / "concept.safetensors")
    for name, kind in (("concept.pt", "torch"), ("concept.safetensors", "safetensors")):
        load = functools.partial(_load_concept, loaded, name)
        yield Target(f"textual inversion: {kind}", place, name, kind, load)
    yield from _files_of_the_web_ui(loaded, folder)
    yield from _ip_adapters(sd, loaded, folder)


def _files_of_the_web_ui(loaded: Any, folder: Path) -> Iterator[Target]:
    """A single file in both formats, and a LoRA with the names of kohya-ss."""
    single = tiny_pipeline(folder, "sd1")
    tensors = original_tensors(single, "sd1")
    for suffix, kind in (("safetensors", "safetensors"), ("ckpt", "torch")):
        place = folder / f"single-{kind}"
        file = write_single_file(place / f"model.{suffix}", tensors)
        load = functools.partial(_load_single_file, single, file.name)
        yield Target(f"single file: {kind}", place, file.name, kind, load)
    place = folder / "kohya"
    place.mkdir()
    names = [
        f"{name}.{part}" for name in ("to_q", "to_out_0") for part in ("lora_down.weight", "lora_up.weight", "alpha")
    ]
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1"
    shapes = {"lora_down.weight": (2, 32), "lora_up.weight": (32, 2), "alpha": ()}
    save_file(
        {f"{layer}_{name}": torch.ones(shapes[name.partition(".")[2]]) for name in names},
        place / "lora.safetensors",
        {"ss_network_args": '{"conv_dim": "4"}', "ss_base_model_version": "sd_v1"},
    )
    load = functools.partial(_load_lora, loaded, "lora.safetensors")
    yield Target("LoRA of kohya-ss", place, "lora.safetensors", "safetensors", load)


def _load_single_file(config: Path, name: str, folder: Path) -> None:
    ppdiffusers.StableDiffusionPipeline.from_single_file(folder / name, config=config, local_files_only=True)


def _ip_adapters(sd: Path, loaded: Any, folder: Path) -> Iterator[Target]:
    unet = diffusers.UNet2DConditionModel.from_pretrained(sd / "unet")
    place = folder / "ip-adapter"
    for kind, suffix in (("base", "safetensors"), ("face_id_plus", "bin")):
        file = save_ip_adapter(place / f"{kind}.{suffix}", ip_adapter_tensors(unet, kind, lora=kind != "base"))
        load = functools.partial(_load_ip_adapter, loaded, file.name)
        yield Target(f"IP-Adapter: {kind}", place, file.name, {"bin": "torch"}.get(suffix, suffix), load)


def _load_ip_adapter(pipeline: Any, name: str, folder: Path) -> None:
    try:
        pipeline.load_ip_adapter(folder, None, name, image_encoder_folder=None)
    finally:
        pipeline.unload_ip_adapter()
        pipeline.unload_lora_weights()


def _load_lora(pipeline: Any, name: str, folder: Path) -> None:
    try:
        pipeline.load_lora_weights(folder, weight_name=name)
    finally:
        pipeline.unload_lora_weights()


def _load_concept(pipeline: Any, name: str, folder: Path) -> None:
    pipeline.load_textual_inversion(folder / name, token="<cat>")
    pipeline.unload_textual_inversion()


# -- checkpoints of original repositories -------------------------------------------------------------------------

_YAML = """\
data:
    image_size: 16
    channels: 3
model:
    type: simple
    in_channels: 3
    out_ch: 3
    ch: 32
    ch_mult: [1, 2, 3]
    num_res_blocks: 2
    attn_resolutions: [8, ]
    dropout: 0.1
    var_type: fixedlarge
    resamp_with_conv: True
diffusion:
    beta_schedule: quad
    beta_start: 0.0002
    beta_end: 0.03
    num_diffusion_timesteps: 500
"""


def _originals(folder: Path) -> Iterator[Target]:
    from tests.conversion.test_originals import ddpm_unet

    place = folder / "original"
    place.mkdir()
    (place / "config.yml").write_text(_YAML)
    settings = {
        "data": {"image_size": 16},
        "model": {
            "ch": 32,
            "ch_mult": [1, 2, 3],
            "num_res_blocks": 2,
            "attn_resolutions": [8],
            "var_type": "fixedlarge",
        },
        "diffusion": {"num_diffusion_timesteps": 500},
    }
    (place / "config.json").write_text(json.dumps(settings))
    torch.save(originals.ddpm(ddpm_unet()), place / "model.ckpt")
    options = check_options("paddle", None, None)

    def load(config: str, path: Path) -> None:
        make_original_plan(path / "model.ckpt", "ddpm", path / config, (), True, options)

    for config, kind in (("config.yml", "yaml"), ("config.json", "json")):
        yield Target(f"original: {config}", place, config, kind, functools.partial(load, config))
    yield Target("original: torch", place, "model.ckpt", "torch", functools.partial(load, "config.yml"))


# -- caches -------------------------------------------------------------------------------------------------------


@contextmanager
def _variables(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def _caches(folder: Path) -> Iterator[Target]:
    place = folder / "cache"
    with _variables(PPDIFFUSERS_CACHE=str(place)):
        program_cache.find_or_make("program-1", "a network", lambda made: (made / "a.json").write_text("{}"))
    yield Target("entry of the program cache", place, "programs/program-1/entry.json", "json", _use_programs)
    model = place / "hub" / "hf" / "acme--tiny" / "main"
    model.mkdir(parents=True)
    (model / "scheduler_config.json").write_text("{}")
    manifest = {
        "format": 1,
        "source": "hf",
        "model": "acme/tiny",
        "revision": "main",
        "commit": "0" * 40,
        "files": {"scheduler_config.json": {"size": 2, "sha256": "0" * 64, "url": "http://x/y", "digest": None}},
        "absent": ["model.bin"],
        "unfinished": [],
    }
    (model / "ppdiffusers-manifest.json").write_text(json.dumps(manifest))
    yield Target(
        "manifest of a download", place, "hub/hf/acme--tiny/main/ppdiffusers-manifest.json", "json", _use_models
    )


def _use_programs(folder: Path) -> None:
    with _variables(PPDIFFUSERS_CACHE=str(folder)):
        repr(program_cache.list_programs())
        repr(program_cache.verify_programs())
        program_cache.find_or_make("program-1", "a network", lambda made: (made / "a.json").write_text("{}"))
        program_cache.remove_programs(program_cache.program_names())


def _use_models(folder: Path) -> None:
    with _variables(PPDIFFUSERS_CACHE=str(folder)):
        root = cache_root()
        models = list_models(root)
        for model in models:
            repr(verify_folder(model.folder))
        ppdiffusers.DDIMScheduler.from_pretrained("acme/tiny", local_files_only=True)


# -- hubs ---------------------------------------------------------------------------------------------------------


class _FakeClient(HttpClient):
    """A client whose responses come from a server object, without a network; one of them is replaced."""

    def __init__(self, server: Any, replaced: bytes | None, at: str):
        super().__init__()
        self._server, self._replaced, self._at = server, replaced, at

    def read(self, url: str, headers: Any = None, limit: int = 64 << 20) -> bytes:
        from urllib.parse import parse_qsl, unquote, urlsplit

        parts = urlsplit(url)
        if self._replaced is not None and self._at in url:
            return self._replaced
        response = self._server.respond("GET", unquote(parts.path), dict(parse_qsl(parts.query)))
        if response.status != 200:
            raise FetchError("refused", where=url, status=response.status)
        return response.body

    @contextmanager
    def request(self, method: str, url: str, headers: Any = None, accept: tuple[int, ...] = ()) -> Iterator[Any]:
        body = self.read(url)
        yield type("Response", (), {"headers": {"Content-Length": str(len(body))}, "status_code": 200})()


# hub -> (what the URL of its listing contains, the URL to ask for one)
_LISTINGS = {
    "hf": ("/api/models", "https://hf.test/api/models/acme/tiny/revision/main?blobs=true"),
    "modelscope": ("/repo/files", "https://ms.test/api/v1/models/acme/tiny/repo/files?Revision=master&Recursive=true"),
    "aistudio": ("/contents/", "http://ai.test/api/v1/repos/acme/tiny/contents/model_index.json"),
}


def _hubs(sd: Path, folder: Path) -> Iterator[Target]:
    for name, (at, url) in _LISTINGS.items():
        server = PROTOCOLS[name][0](sd, "acme/tiny")
        place = folder / f"hub-{name}"
        place.mkdir()
        (place / "answer.json").write_bytes(_FakeClient(server, None, at).read(url))
        yield Target(
            "answers of hubs", place, "answer.json", "json", functools.partial(_select, name, server, at), False
        )
    server = PROTOCOLS["hf"][0](sd, "acme/tiny")
    place = folder / "hub-index"
    place.mkdir()
    shutil.copyfile(sd / "model_index.json", place / "answer.json")
    load = functools.partial(_select, "hf", server, "model_index.json")
    yield Target("model_index.json of a hub", place, "answer.json", "json", load, False)


def _select(name: str, server: Any, at: str, folder: Path) -> None:
    client = _FakeClient(server, (folder / "answer.json").read_bytes(), at)
    hub = HUBS[name]
    model = hub.open(client, "acme/tiny", hub.default_revision, None)
    repr(AllFiles().select(model, ""))


# -- folders --------------------------------------------------------------------------------------------------------


def _folders(sd: Path, folder: Path) -> Iterator[FolderTarget]:
    options = check_options("paddle", None, None)
    small = folder / "to-convert"
    load = ppdiffusers.StableDiffusionPipeline.from_pretrained
    yield FolderTarget("hostile folders: pipeline", sd, load)
    yield FolderTarget("hostile folders: convert", small, lambda path: make_plan(path, options))
    for name in ("unet", "vae"):
        cls = ppdiffusers.UNet2DConditionModel if name == "unet" else ppdiffusers.AutoencoderKL
        yield FolderTarget(f"hostile folders: {name}", sd / name, cls.from_pretrained)
    yield FolderTarget("hostile folders: sharded", folder / "shards", ppdiffusers.UNet2DConditionModel.from_pretrained)
    tokenizer = functools.partial(_tokenize, ppdiffusers.transformers.CLIPTokenizer)
    yield FolderTarget("hostile folders: tokenizer", sd / "tokenizer", tokenizer)
