"""Cleaning of captions against diffusers' IF pipeline, live; without beautifulsoup4 a small parser replaces it."""

import html.parser
import logging
import sys
import types

import pytest
from diffusers.pipelines.deepfloyd_if import pipeline_if as original

from ppdiffusers.pipelines.stages import captions

CAPTIONS = (
    "  A Photo of <person> on <b>a beach</b> &amp; more, see https://example.com/a/b?c=1 or www.cats.org  ",
    "@nickname 一个 red “circle”, ‘blue’ «square» — high‑quality… IMG_2041.jpg",
    "Free Shipping worldwide shipping!! 1920x1080 12.5×3 jc6640 jc6640vc 6640vc231 #123 #123456 1234567",
    "this-is-my-cute-cat_on_a_mat 192.168.0.1 page 12 click for details : price 12:30 ",
    "'quoted text' \\n new %20line+plus (brackets) [more] {even} a|b\\c/d *** free download png images",
    ".hidden",
    "_dashes_-:",
    "",
)


class Parser(html.parser.HTMLParser):
    """The text of a document, as `BeautifulSoup(...).text`."""

    def __init__(self, document: str, features: str):
        super().__init__()
        self.text = ""
        self.feed(document)
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def parser(monkeypatch):
    """The same parser in both libraries."""
    monkeypatch.setitem(sys.modules, "bs4", types.SimpleNamespace(BeautifulSoup=Parser))
    monkeypatch.setattr(captions, "available", lambda name: True)
    monkeypatch.setattr(original, "BeautifulSoup", Parser, raising=False)
    monkeypatch.setattr(original, "is_bs4_available", lambda: True)


@pytest.mark.parametrize("clean", [True, False])
def test_captions(parser, clean):
    pipe = original.IFPipeline.__new__(original.IFPipeline)
    expected = pipe._text_preprocessing(list(CAPTIONS), clean_caption=clean)
    assert captions.prepare_captions(list(CAPTIONS), clean) == expected
    assert expected != list(CAPTIONS)


def test_missing_package_is_named(monkeypatch, caplog):
    monkeypatch.setattr(captions, "available", lambda name: False)
    with caplog.at_level(logging.WARNING, logger="ppdiffusers"):
        assert captions.prepare_captions([" A <b>cat</b> "], True) == ["a <b>cat</b>"]
    assert "beautifulsoup4" in caplog.text
