"""Cleaning of prompts for networks that were trained on cleaned captions of the web (DeepFloyd IF, PixArt)."""

from __future__ import annotations

import html
import re
import urllib.parse
from collections.abc import Iterable

import ftfy

from ppdiffusers.core.extras import available, need
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

Rules = tuple[tuple[str, str], ...]  # (pattern, replacement), in this order

_DOMAIN = r"[a-zA-Z0-9.\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b\/?(?!@)"
_FILE_TYPES = "png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4"
_DASHES = (
    r"[\u002D\u058A\u05BE\u1400\u1806\u2010-\u2015\u2E17\u2E1A\u2E3A\u2E3B\u2E40\u301C\u3030\u30A0\uFE31\uFE32\uFE58"
    r"\uFE63\uFF0D]+"
)
_PUNCTUATION = r"[#®•©™&@·º½¾¿¡§~)(\]\[}{|\\/*]+"
_HYPHEN = re.compile(r"[-_]")

_ADDRESSES: Rules = (
    ("<person>", "person"),
    (rf"\b((?:https?:(?:\/{{1,3}}|[a-zA-Z0-9%])|{_DOMAIN}))", ""),
    (rf"\b((?:www:(?:\/{{1,3}}|[a-zA-Z0-9%])|{_DOMAIN}))", ""),
)
_SYMBOLS: Rules = (
    (r"@[\w\d]+\b", ""),  # nicknames
    (r"[\u31c0-\u9fff]+", ""),  # Chinese characters and neighboring blocks
    (_DASHES, "-"),
    (r"[`´«»“”¨]", '"'),
    (r"[‘’]", "'"),
    (r"&quot;?", ""),
    (r"&amp", ""),
    (r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " "),  # network addresses
    (r"\d:\d\d\s+$", ""),  # article numbers
    (r"\\n", " "),
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"[\S]+\.(?:{_FILE_TYPES})", ""),
    (r"[\"\']{2,}", '"'),
    (r"[\.]{2,}", " "),
    (_PUNCTUATION, " "),
    (r"\s+\.\s+", " "),
)
_WORDS: Rules = (
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),  # identifiers such as jc6640, jc6640vc, 6640vc231
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),
    (r"\b\d+[a-zA-Z]+\d+\b", ""),
    (r"(worldwide\s+)?(free\s+)?shipping", ""),
    (r"(free\s)?download(\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b(?:{_FILE_TYPES})(\simage[s]?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),
    (r"\b\d+\.?\d*[xх×]\d+\.?\d*\b", ""),  # sizes; the second letter is Cyrillic
    (r"\b\s+\:\s+", ": "),
    (r"(\D[,\./])\b", r"\1 "),
    (r"\s+", " "),
    (r"^[\"\']([\w\W]+)[\"\']$", r"\1"),
    (r"^[\'\_,\-\:;]", ""),
    (r"[\'\_,\-\:\-\+]$", ""),
    (r"^\.\S+$", ""),
)


def prepare_captions(prompts: list[str], clean: bool) -> list[str]:
    """Convert prompts to lower case without outer spaces and, with `clean`, clean them twice, as in diffusers.

    Cleaning removes HTML with the package `beautifulsoup4`; without it, prompts are not cleaned, with a warning.
    """
    if clean and not available("bs4"):
        logger.warning(
            "`clean_caption=True` requires the package beautifulsoup4 (`pip install beautifulsoup4`), which is not "
            "installed: prompts are not cleaned. `clean_caption=False` silences this warning."
        )
        clean = False
    if not clean:
        return [prompt.lower().strip() for prompt in prompts]
    return [clean_caption(clean_caption(prompt)) for prompt in prompts]


def clean_caption(caption: str) -> str:
    """Remove addresses, HTML, file names, identifiers and advertising from a caption, and unify its punctuation.

    Raises:
        MissingDependencyError: beautifulsoup4 is not installed.
    """
    parse = need("bs4", "to remove HTML from captions").BeautifulSoup
    caption = _replace(urllib.parse.unquote_plus(str(caption)).strip().lower(), _ADDRESSES)
    caption = _replace(parse(caption, features="html.parser").text, _SYMBOLS)
    if len(_HYPHEN.findall(caption)) > 3:  # words-joined-by-hyphens
        caption = _HYPHEN.sub(" ", caption)
    caption = html.unescape(html.unescape(ftfy.fix_text(caption)))
    return _replace(caption, _WORDS).strip()


def _replace(caption: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        caption = re.sub(pattern, replacement, caption)
    return caption
