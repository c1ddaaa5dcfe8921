"""The protocol of each hub: required files are downloaded and no others; the order of hubs; error messages."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ppdiffusers.core.errors import InputError, SourceError, UnsafeFileError
from ppdiffusers.io.cached import list_models
from ppdiffusers.io.hubs.base import HubOptions
from ppdiffusers.io.required_files import TOKENIZER_FILES, VOCABULARIES, AllFiles, ModelFiles, NamedFiles, PipelineFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.io.snapshot import cache_root
from tests.io.hub.conftest import NEEDED, files_under, write_model
from tests.io.hub.servers import COMMIT, PROTOCOLS, Behaviour, Response

PIPELINE = PipelineFiles()
TOKENIZER = NamedFiles(TOKENIZER_FILES, VOCABULARIES)


@pytest.mark.parametrize("source", PROTOCOLS)
def test_only_the_required_files_of_a_pipeline_are_downloaded(source, hub_of, folder):
    hub = hub_of(source, folder)
    found = resolve_folder("acme/tiny", required=PIPELINE)
    assert files_under(found) == {name: (folder / name).read_bytes() for name in NEEDED}
    sent = {name for name in (p.relative_to(folder).as_posix() for p in folder.rglob("*")) if hub.bytes_sent(f"{name}")}
    assert "v1-5-pruned.safetensors" not in sent
    again = len(hub.requests)
    assert resolve_folder("acme/tiny", required=PIPELINE) == found
    assert len(hub.requests) == again, "cached files are not requested again"


@pytest.mark.parametrize("source", PROTOCOLS)
def test_components_next_to_the_index(source, hub_of, tmp_path):
    index = b'{"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"], '
    index += b'"scheduler": ["diffusers", "DDPMScheduler"]}'
    contents = {
        "model_index.json": index,
        "config.json": b'{"_class_name": "UNet2DModel"}',
        "diffusion_pytorch_model.bin": b"pickle" * 1000,
        "scheduler_config.json": b'{"_class_name": "DDPMScheduler"}',
    }
    folder = tmp_path / "published"
    folder.mkdir()
    for name, content in {**contents, "README.md": b"# A model", "images.zip": b"images"}.items():
        (folder / name).write_bytes(content)
    hub_of(source, folder)
    assert files_under(resolve_folder("acme/tiny", required=PIPELINE)) == contents


@pytest.mark.parametrize("source", PROTOCOLS)
def test_only_the_requested_variant_is_downloaded(source, hub_of, folder):
    hub_of(source, folder)
    found = files_under(resolve_folder("acme/tiny", required=PipelineFiles(variant="fp16")))
    assert {n for n in found if "model." in n and not n.endswith("json")} == {
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
    }
    with pytest.raises(SourceError) as error:
        resolve_folder("acme/tiny", required=PipelineFiles(variant="bf16"), options=HubOptions(source=source))
    assert "variant 'bf16'" in str(error.value)
    assert str(error.value).count("weights of the variant") == 2  # of both networks, in one message


@pytest.mark.parametrize("source", PROTOCOLS)
def test_safetensors_are_preferred_to_pickles(source, hub_of, folder):
    (folder / "unet/model_state.pdparams").write_bytes(b"pickle of Paddle")
    hub_of(source, folder)
    network = ModelFiles(("diffusion_pytorch_model",))
    found = files_under(resolve_folder("acme/tiny", "unet", network).parent)
    assert set(found) == {"unet/config.json", "unet/diffusion_pytorch_model.safetensors"}
    pickles = ModelFiles(("diffusion_pytorch_model",), use_safetensors=False)
    found = files_under(resolve_folder("acme/tiny", "unet", pickles).parent)
    assert "unet/model_state.pdparams" in found
    assert "unet/diffusion_pytorch_model.bin" not in found


@pytest.mark.parametrize("source", PROTOCOLS)
def test_shards_are_downloaded_with_their_index(source, hub_of, folder):
    for name in ("safetensors", "bin"):
        (folder / f"unet/diffusion_pytorch_model.{name}").unlink()
    names = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = {"metadata": {}, "weight_map": {"a": names[0], "b": names[1], "c": names[0]}}
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    for name in names:
        (folder / "unet" / name).write_bytes(name.encode() * 1000)
    hub_of(source, folder)
    found = files_under(resolve_folder("acme/tiny", required=PIPELINE))
    for name in (*names, "diffusion_pytorch_model.safetensors.index.json"):
        assert found[f"unet/{name}"] == (folder / "unet" / name).read_bytes()


def test_files_of_paddlenlp(hub_of, tmp_path):
    """`model_state.pdparams` next to `model_config.json`, the legacy index, and no list of files."""
    root = tmp_path / "old"
    index = {"_class_name": "DDPMPipeline", "_ppdiffusers_version": "0.14.0"}
    index |= {"unet": ["ppdiffusers", "UNet2DModel"], "scheduler": ["ppdiffusers", "DDPMScheduler"]}
    for name, content in {
        "model_index.json": json.dumps(index).encode(),
        "unet/model_config.json": b"{}",
        "unet/model_state.pdparams": b"x" * 9999,
        "scheduler/scheduler_config.json": b"{}",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    hub = hub_of("paddlenlp", root, "google/ddpm-cat-256")
    found = resolve_folder("google/ddpm-cat-256", required=PIPELINE)
    assert files_under(found) == files_under(root)
    assert {r.method for r in hub.requests} == {"HEAD", "GET"}
    assert all(r.path.startswith("/models/community/google/ddpm-cat-256/") for r in hub.requests)


@pytest.mark.parametrize("source", PROTOCOLS)
def test_all_files_by_default(source, hub_of, folder):
    """Without `required`: a pipeline, or one component; an unknown name."""
    hub_of(source, folder).add("acme/unet", folder / "unet")
    options = HubOptions(source=source)
    assert set(files_under(resolve_folder("acme/tiny", options=options))) == NEEDED
    found = resolve_folder("acme/tiny", "scheduler", options=replace(options, force_download=True))
    assert set(files_under(found)) == {"scheduler_config.json"}
    weights = "diffusion_pytorch_model.safetensors"
    assert set(files_under(resolve_folder("acme/unet", options=options))) == {"config.json", weights}
    with pytest.raises(SourceError, match="weights of the variant 'bf16'"):
        resolve_folder("acme/unet", required=AllFiles(variant="bf16"), options=options)
    with pytest.raises(SourceError, match=r"no model_index\.json, and no file of a single component|404"):
        resolve_folder("acme/none", options=options)


NONSENSE = {
    "hf": [b"<html>login</html>", b"[]", b"{}", b'{"sha": "1", "siblings": [{"rfilename": "a", "size": "big"}]}'],
    "modelscope": [b"sorry", b'{"Data": null}', b'{"Data": {"Files": [{"Path": "a", "Size": -1}]}}'],
    "aistudio": [b"no", b"{}", b'{"size": 1, "sha": "x"}', b'{"content": "a", "size": 1, "sha": "x"}'],
}


@pytest.mark.parametrize(("source", "body"), [(source, body) for source, bodies in NONSENSE.items() for body in bodies])
def test_malformed_responses(source, body, hub_of, folder):
    """A login page in front of a network, another version of a server: an error about this hub, not a traceback."""
    hub = hub_of(source, folder)
    hub.respond = lambda method, path, query: Response(200, body)
    with pytest.raises(SourceError, match="no hub has the model"):
        resolve_folder("acme/tiny", required=PIPELINE, options=HubOptions(source=source))


def test_a_storage_that_responds_403_for_missing_files(hub_of, folder):
    hub = hub_of("paddlenlp", folder)
    hub.behave.forbids = True
    assert set(files_under(resolve_folder("acme/tiny", required=PIPELINE))) == NEEDED


def test_any_web_server_can_be_a_hub(folder, tmp_path, monkeypatch):
    """The one of the standard library: HTTP/1.0, no ETags, no ranges, no checksums."""
    write_model(tmp_path / "served/models/community/acme/tiny")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("PPNLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        found = resolve_folder("acme/tiny", required=PIPELINE)
        server.shutdown()
    assert files_under(found) == {name: (folder / name).read_bytes() for name in NEEDED}


def test_a_proxy_is_used(hub_of, folder, monkeypatch):
    hub = hub_of("paddlenlp", folder)
    monkeypatch.setenv("PPNLP_ENDPOINT", "http://storage.invalid")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    options = HubOptions(source="paddlenlp", proxies={"http": hub.address})
    assert set(files_under(resolve_folder("acme/tiny", required=PIPELINE, options=options))) == NEEDED
    assert hub.requests[0].path.startswith("http://storage.invalid/models/community/acme/tiny/")


def test_no_two_names_share_a_folder(hub_of, folder, tmp_path):
    other = write_model(tmp_path / "other")
    (other / "tokenizer/vocab.json").write_text('{"other": 1}')
    hub_of("paddlenlp", folder).add("acme--tiny", other)
    for name, content in (("acme/tiny", "{}"), ("acme--tiny", '{"other": 1}')) * 2:
        found = resolve_folder(name, "tokenizer", TOKENIZER)
        assert (found / "vocab.json").read_text() == content
    names = [(model.model, model.revision) for model in list_models(cache_root())]
    assert sorted(names) == [("acme--tiny", "default"), ("acme/tiny", "default")]
    for path in cache_root().rglob("*manifest.json"):
        path.unlink()
    assert [(model.model, model.revision) for model in list_models(cache_root())] == names


def test_the_order_of_hubs_can_be_chosen(hub_of, folder, tmp_path, monkeypatch):
    hubs = {source: hub_of(source, folder) for source in PROTOCOLS}

    def queried(**options) -> list[str]:
        before = {source: len(hub.requests) for source, hub in hubs.items()}
        cache = tmp_path / f"cache{sum(before.values())}"
        resolve_folder("acme/tiny", "tokenizer", TOKENIZER, HubOptions(cache_dir=cache, **options))
        return [source for source, hub in hubs.items() if len(hub.requests) > before[source]]

    assert queried() == ["paddlenlp"]
    for source in PROTOCOLS:
        assert queried(source=source) == [source]
    monkeypatch.setenv("PPDIFFUSERS_SOURCES", "cache, modelscope,hf")
    assert queried() == ["modelscope"]
    del hubs["modelscope"].files["acme/tiny"]
    assert queried() == ["hf", "modelscope"]
    monkeypatch.setenv("PPDIFFUSERS_SOURCES", "hfx")
    with pytest.raises(InputError, match="source 'hfx' is unknown"):
        queried()


def test_the_error_lists_the_reasons_of_all_hubs_in_order(hub_of, folder, tmp_path):
    incomplete = write_model(tmp_path / "incomplete")
    (incomplete / "unet/config.json").unlink()
    (incomplete / "text_encoder/model.safetensors").unlink()
    (incomplete / "text_encoder/pytorch_model.bin").unlink()
    hub_of("paddlenlp", incomplete)
    hub_of("hf", folder).token = "secret"
    hub_of("modelscope", folder, "other/name")
    with pytest.raises(SourceError) as error:  # no server listens at AI Studio's address
        resolve_folder("acme/tiny", required=PIPELINE)
    text = str(error.value)
    order = [text.index(name) for name in ("cache (", "PaddleNLP (", "Hugging Face (", "ModelScope (", "AI Studio (")]
    assert order == sorted(order)
    for reason in ("unet: no config.json", "text_encoder: no weights", "401", "HF_TOKEN", "404", "no response"):
        assert reason in text, reason
    assert "what to do" in text
    assert "secret" not in text


TOKENS = {"hf": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN", "aistudio": "AISTUDIO_ACCESS_TOKEN"}


@pytest.mark.parametrize(("source", "variable"), TOKENS.items())
def test_tokens(source, variable, hub_of, folder, monkeypatch, tmp_path):
    hub = hub_of(source, folder)
    hub.token = "s3cret"

    def get(**options):
        options = HubOptions(source=source, cache_dir=tmp_path / str(len(hub.requests)), **options)
        return resolve_folder("acme/tiny", "tokenizer", TOKENIZER, options)

    with pytest.raises(SourceError, match="401"):
        get()
    with pytest.raises(SourceError, match="401"):
        get(token=True)  # "the one of the login", which does not exist
    assert get(token="s3cret").is_dir()
    monkeypatch.setenv(variable, "s3cret")
    assert get().is_dir()
    with pytest.raises(SourceError, match="401"):
        get(token=False)


def test_a_revision_of_hugging_face(hub_of, folder, tmp_path):
    hub = hub_of("hf", folder)
    options = HubOptions(source="hf", revision=COMMIT)
    assert resolve_folder("acme/tiny", "tokenizer", TOKENIZER, options).is_dir()
    with pytest.raises(SourceError, match="revision 'v9'"):
        resolve_folder("acme/tiny", "tokenizer", TOKENIZER, HubOptions(source="hf", revision="v9"))
    # the rest of a model is downloaded from the commit of its first part, even if the branch has changed
    resolve_folder("acme/tiny", "tokenizer", TOKENIZER, HubOptions(source="hf"))
    hub.requests.clear()
    resolve_folder("acme/tiny", "scheduler", NamedFiles(("scheduler_config.json",)), HubOptions(source="hf"))
    assert hub.requests[0].path.startswith(f"/api/models/acme/tiny/revision/{COMMIT}")


def test_paddlenlp_has_no_revisions(hub_of, folder):
    hub_of("paddlenlp", folder)
    with pytest.raises(SourceError, match="no revisions; 'v2'"):
        resolve_folder("acme/tiny", required=PIPELINE, options=HubOptions(source="paddlenlp", revision="v2"))


def test_legacy_flags():
    assert pop_hub_options({"from_hf_hub": True, "from_diffusers": True}).source == "hf"
    assert pop_hub_options({"from_aistudio": True, "from_hf_hub": False}).source == "aistudio"
    assert pop_hub_options({"source": "huggingface", "from_hf_hub": True}).source == "hf"
    assert pop_hub_options({"from_diffusers": True}) == HubOptions()
    assert pop_hub_options({"use_auth_token": "t", "resume_download": None}) == HubOptions(token="t")
    left = {"revision": "v1", "cache_dir": "x", "force_download": True, "local_files_only": True, "keep": 1}
    options = pop_hub_options(left)
    assert left == {"keep": 1}
    assert options == HubOptions(revision="v1", cache_dir=Path("x"), force_download=True, local_files_only=True)
    with pytest.raises(InputError, match="More than one source"):
        pop_hub_options({"from_hf_hub": True, "from_aistudio": True})


# -- names ------------------------------------------------------------------------------------------------------

BAD = ("../secret", "acme/../../x", "/etc/no-such", "~/no-such", "file:///etc", "ftp://host/a/b", "a//b", "a/b/c/d", "")
BAD += ("https://huggingface.co/acme/tiny", "a\\b", ".hidden/x", "acme/tiny/..", "acme/ti ny", "C:/models")


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused_before_any_request(name, hub_of, folder, monkeypatch):
    hubs = [hub_of(source, folder) for source in PROTOCOLS]
    monkeypatch.chdir(folder / "unet")
    if name == "":
        monkeypatch.chdir(folder)
        name = "./"
        assert resolve_folder(name) == Path(name)  # it is a folder
        return
    with pytest.raises(SourceError, match="model folder does not exist"):
        resolve_folder(name, required=PIPELINE)
    assert not any(hub.requests for hub in hubs)


@pytest.mark.parametrize("revision", ["../../x", "/abs", "a b", "..", "-x\n"])
def test_bad_revisions_are_refused(revision, hub_of, folder):
    hub = hub_of("hf", folder)
    with pytest.raises(SourceError, match="revision"):
        resolve_folder("acme/tiny", options=HubOptions(revision=revision))
    assert not hub.requests


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "C:\\evil", "a/../../evil", "..\\evil", "x\0y"])
@pytest.mark.parametrize("place", ["shard", "hf", "modelscope"])
def test_names_in_a_remote_index_cannot_point_outside_the_cache(place, name, hub_of, folder, tmp_path):
    source = "paddlenlp" if place == "shard" else place
    if place == "shard":
        for ending in ("safetensors", "bin"):
            (folder / f"unet/diffusion_pytorch_model.{ending}").unlink()
        index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"a": name}}))
    hub = hub_of(source, folder)
    if place != "shard":
        hub.files["acme/tiny"][name] = b"evil"
    with pytest.raises(UnsafeFileError, match="outside its folder"):
        resolve_folder("acme/tiny", required=PIPELINE, options=HubOptions(source=source))
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    "name", ["a cat: portrait.png", "what?.txt", "a//b", "tabs\tand\nlines", "con|tra*st.png", "C:x"]
)
@pytest.mark.parametrize("source", ["hf", "modelscope"])
def test_names_that_are_not_needed_may_be_strange(source, name, hub_of, folder):
    hub_of(source, folder).files["acme/tiny"][name] = b"a sample"
    found = resolve_folder("acme/tiny", required=PIPELINE, options=HubOptions(source=source))
    assert (found / "model_index.json").is_file()
    assert b"a sample" not in [path.read_bytes() for path in found.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["a//b", "a b: c.safetensors"])
def test_a_needed_file_with_a_strange_name_is_refused(name, hub_of, folder):
    for ending in ("safetensors", "bin"):
        (folder / f"unet/diffusion_pytorch_model.{ending}").unlink()
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    hub_of("hf", folder).files["acme/tiny"][f"unet/{name}"] = b"evil"
    with pytest.raises(UnsafeFileError, match="outside its folder"):
        resolve_folder("acme/tiny", required=PIPELINE, options=HubOptions(source="hf"))


def test_a_component_name_cannot_point_outside_the_model(hub_of, folder):
    index = json.loads((folder / "model_index.json").read_text())
    index["../../evil"] = ["diffusers", "UNet2DConditionModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    hub_of("hf", folder)
    with pytest.raises(UnsafeFileError, match="outside its folder"):
        resolve_folder("acme/tiny", required=PIPELINE)


def test_a_subfolder_cannot_point_outside_the_model(hub_of, folder):
    hub = hub_of("hf", folder)
    with pytest.raises(UnsafeFileError):
        resolve_folder("acme/tiny", "../other")
    assert not hub.requests


def test_a_redirect_to_another_scheme_is_not_followed(hub_of, folder, monkeypatch):
    hub = hub_of("hf", folder)
    hub.behave = Behaviour(redirect=True)
    usual = type(hub).respond

    def elsewhere(self, method, path, query):
        given = usual(self, method, path, query)
        return Response(302, b"", {"Location": "file:///etc/passwd"}) if given.is_file else given

    monkeypatch.setattr(type(hub), "respond", elsewhere)
    with pytest.raises(SourceError):
        resolve_folder("acme/tiny", "tokenizer", TOKENIZER, HubOptions(source="hf"))


# -- offline ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["HF_HUB_OFFLINE", "PPDIFFUSERS_OFFLINE", "local_files_only"])
def test_offline_opens_no_socket(how, hub_of, folder, monkeypatch, no_sockets):
    hub_of("hf", folder)
    found = resolve_folder("acme/tiny", required=PIPELINE)
    if how != "local_files_only":
        monkeypatch.setenv(how, "1")
    options = HubOptions(local_files_only=how == "local_files_only")
    no_sockets()
    assert resolve_folder("acme/tiny", required=PIPELINE, options=options) == found
    assert resolve_folder("acme/tiny", "tokenizer", options=options) == found / "tokenizer"
    for name in ("acme/other", "other"):
        with pytest.raises(SourceError, match="skipped, because") as error:
            resolve_folder(name, required=PIPELINE, options=options)
        assert how in str(error.value)


def test_an_incomplete_model_is_an_error_offline(hub_of, folder, monkeypatch):
    hub_of("hf", folder)
    resolve_folder("acme/tiny", "tokenizer", TOKENIZER)
    monkeypatch.setenv("PPDIFFUSERS_OFFLINE", "1")
    with pytest.raises(SourceError, match=r"no model_index\.json"):
        resolve_folder("acme/tiny", required=PIPELINE)


# -- Hugging Face's own cache -------------------------------------------------------------------------------------


@pytest.fixture
def hf_cache(folder, tmp_path, monkeypatch) -> Path:
    """The cache of `huggingface_hub` after a download: blobs by checksum, links to them, a name for the commit."""
    root = tmp_path / "hf_cache/models--acme--tiny"
    for name in NEEDED:
        blob = root / "blobs" / hashlib.sha256((folder / name).read_bytes()).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes((folder / name).read_bytes())
        link = root / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    (root / "refs").mkdir()
    (root / "refs/main").write_text(COMMIT)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf_cache"))
    return root


def test_the_cache_of_huggingface_hub_is_used_offline(hf_cache, monkeypatch, no_sockets):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    no_sockets()
    assert resolve_folder("acme/tiny", required=PIPELINE) == hf_cache / "snapshots" / COMMIT
    assert resolve_folder("acme/tiny", "unet", ModelFiles()) == hf_cache / "snapshots" / COMMIT / "unet"


def test_files_that_huggingface_hub_downloaded_are_used(hub_of, folder, tmp_path, monkeypatch, no_sockets):
    """The test server implements their protocol, and the cache has the layout of the installed release."""
    hub_of("hf", folder)
    environment = {"HF_HUB_CACHE": str(tmp_path / "hf_cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    code = f"import huggingface_hub as h; h.snapshot_download('acme/tiny', allow_patterns={sorted(NEEDED)})"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, check=True, timeout=120)
    monkeypatch.setenv("HF_HUB_CACHE", environment["HF_HUB_CACHE"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    no_sockets()
    found = resolve_folder("acme/tiny", required=PIPELINE)
    assert found.is_relative_to(tmp_path / "hf_cache")
    assert files_under(found) == {name: (folder / name).read_bytes() for name in NEEDED}


def test_files_of_huggingface_hub_are_verified_and_not_downloaded_again(hf_cache, hub_of, folder):
    hub = hub_of("hf", folder)
    damaged = hf_cache / "snapshots" / COMMIT / "text_encoder/model.safetensors"
    content = damaged.read_bytes()
    damaged.resolve().write_bytes(content[::-1])
    found = resolve_folder("acme/tiny", required=PIPELINE)
    assert files_under(found) == {name: (folder / name).read_bytes() for name in NEEDED}
    fetched = [path.rpartition(f"/{COMMIT}/")[2] for path in hub.fetched()]
    assert sorted(set(fetched)) == [
        "model_index.json",
        "text_encoder/model.safetensors",
    ]  # the first one is read to select the files


def test_a_successful_download_logs_nothing(hub_of, folder, caplog):
    hub_of("hf", folder)
    with caplog.at_level(logging.WARNING):
        resolve_folder("acme/tiny", required=PIPELINE, options=HubOptions(source="hf"))
    assert not caplog.records
