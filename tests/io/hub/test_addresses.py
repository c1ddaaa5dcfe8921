"""Tokens in addresses are in no message: errors, problems of the network, log lines."""

from __future__ import annotations

import logging

import pytest

import ppdiffusers
from ppdiffusers.io.http_client import FetchError, HttpClient
from ppdiffusers.io.single_file import read_original_config
from tests.io.hub.conftest import NOWHERE


@pytest.mark.parametrize("fault", ["refused", "unreachable", "busy", "offline"])
def test_an_original_configuration(fault, hub_of, tmp_path, caplog):
    hub = hub_of("hf", tmp_path)
    base = hub.address if fault in ("refused", "busy") else NOWHERE
    if fault == "busy":
        hub.behave.busy["v1.yaml"] = [503] * 9
    address = f"{base}/v1.yaml?token=secret".replace("://", "://me:secret@", 1)
    with caplog.at_level(logging.INFO, "ppdiffusers"), pytest.raises(FetchError) as error:
        if fault == "offline":
            HttpClient(offline="it is a test").read(address)
        else:
            read_original_config(address)
    shown = f"{base}/v1.yaml"
    assert f"where: {shown}\n" in f"{error.value}\n"
    assert "secret" not in str(error.value)
    assert "secret" not in caplog.text
    if fault in ("unreachable", "busy"):
        assert f"{shown}: " in caplog.text


def test_a_mirror_with_a_password(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE.replace("://", "://me:secret@"))
    with pytest.raises(OSError, match="acme/tiny") as error:
        ppdiffusers.UNet2DModel.from_pretrained("acme/tiny", source="hf")
    assert "127.0.0.1:9" in str(error.value)
    assert "secret" not in str(error.value)
