"""Seeded mutations of files: of bytes, of JSON values, of text, and of what a name in a folder is."""

from __future__ import annotations

import json
import os
import random
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.fuzz.pickles import BOMBS, in_plain_file, in_zip, make_pickle

# Code that a pickle may name; a process that runs one of them is caught by the audit hook of `tests/fuzz/process.py`.
CODE = (b"cos\nsystem\n(S'true'\ntR.", b"\x80\x04cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", b"cnt\nsystem\n(S'x'\ntR.")
NUMBERS = (-1, 0, 1, 2, 3, 7, 10**6, 10**10, 2**31, 2**63, 2**64, -(10**18), 0.5, -1.5, 1e300, True, False)
OTHERS = (None, "", "x", "null", "../../x", "/etc/passwd", "a" * 3000, "\x00", "\ud800", "\u202e", [], {}, [[]], [None])
RAW = ("NaN", "1e999", "Infinity", "-Infinity", "9" * 5000, "[" * 500 + "]" * 500, '{"a":' * 300 + "1" + "}" * 300)
# Text that stands for values in a JSON document until they are replaced by `RAW`.
_MARK = "@fuzz@"


def mutate_json(rng: random.Random, content: bytes) -> bytes:
    """Change one to three values, keys or characters of a JSON document."""
    if rng.random() < 0.15:
        return mutate_text(rng, content)
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _mutate_value(rng, value)
    text = json.dumps(value)
    return text.replace(f'"{_MARK}"', rng.choice(RAW)).encode("utf-8", "surrogatepass")


def _mutate_value(rng: random.Random, value: Any) -> Any:
    """Replace, remove, add or repeat one value anywhere in `value`, or `value` itself."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(places) < 5000:
        container = waiting.pop()
        if isinstance(container, (dict, list)):
            keys = list(container) if isinstance(container, dict) else range(len(container))
            places += [(container, key) for key in keys]
            waiting += [container[key] for key in keys]
    if not places or rng.random() < 0.02:
        return _nasty(rng, value)
    container, key = rng.choice(places)
    action = rng.random()
    if action < 0.72:
        container[key] = _nasty(rng, container[key])
    elif action < 0.82:
        del container[key]
    elif action < 0.9 and isinstance(container, dict):
        container[str(_nasty(rng, key))[:100]] = container[key]
    elif isinstance(container, dict):
        container[rng.choice(list(container))] = container[key]
    else:
        container += [container[key]] * rng.choice((1, 5, 1000))
    return value


def _nasty(rng: random.Random, old: Any) -> Any:
    action = rng.random()
    if action < 0.35:
        return rng.choice(NUMBERS)
    if action < 0.65:
        return rng.choice(OTHERS)
    if action < 0.72:
        return _MARK
    if action < 0.8:
        return [old] * rng.choice((1, 2, 3, 50))
    if action < 0.86:
        return {"x": old}
    if isinstance(old, str):
        return (
            old[: rng.randrange(len(old) + 1)]
            + rng.choice(("", "x", "\n", "é", " "))
            + old[rng.randrange(len(old) + 1) :]
        )
    if isinstance(old, (int, float)) and not isinstance(old, bool):
        return rng.choice((-old, old * 1000, old + 1, str(old), [old], float(old)))
    if isinstance(old, list):
        return [*old[::-1], *old] if rng.random() < 0.5 else old[: len(old) // 2]
    return str(old)[:100]


def mutate_text(rng: random.Random, content: bytes) -> bytes:
    """Damage text: encodings, lost and repeated lines, control characters; or any bytes."""
    action = rng.random()
    if action < 0.5:
        return mutate_bytes(rng, content)
    text = content.decode("utf-8")
    if action < 0.6:
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")))
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    change = rng.choice(("", "\x00", lines[at] * 3, "\t" + lines[at], lines[at][::-1], "a b c d", "é" * 50, lines[0]))
    lines[at : at + rng.choice((0, 1, 1, 5, len(lines)))] = [change] * rng.choice((1, 1, 2, 1000))
    return "\n".join(lines).encode("utf-8")


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Change, remove, insert or repeat bytes; the beginning and the end, where headers are, more often."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        near = rng.choice((64, 512, 4096, len(data) + 1))
        at = min(rng.randrange(near), len(data))
        at = len(data) - at if rng.random() < 0.3 else at
        action = rng.randrange(6)
        if action == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif action == 1:
            del data[at : at + rng.choice((1, 8, 1000))]
        elif action == 2:
            data[at:at] = rng.choice((b"\x00" * 8, b"\xff" * 8, bytes(rng.randbytes(9)), b"\x80\x04", b"PK\x03\x04"))
        elif action == 3:
            del data[at:]
        elif action == 4:
            data[at : at + 8] = rng.choice((2**63, 2**31, 10**12, 0, 1)).to_bytes(8, "little")
        else:
            data[at:at] = data[at : at + rng.choice((1, 64, 4096))]
    return bytes(data)


def mutate_safetensors(rng: random.Random, content: bytes) -> bytes:
    """Change the JSON header, with a length that fits it, or any bytes."""
    length = int.from_bytes(content[:8], "little")
    if rng.random() < 0.3:
        return mutate_bytes(rng, content)
    header = mutate_json(rng, content[8 : 8 + length])
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def mutate_pickle(rng: random.Random, content: bytes) -> bytes:
    """Change opcodes, insert code or bombs."""
    action = rng.random()
    if action < 0.08:
        return rng.choice(CODE)
    if action < 0.16:
        return BOMBS[rng.choice(list(BOMBS))]
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 10))):
        at = rng.randrange(min(len(data), rng.choice((200, 5000, 10**9))) + 1)
        opcode = rng.choice(b"().0123]}ertqhsaub\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94NKJMXCcRQP")
        action = rng.random()
        if action < 0.4:
            data[at : at + 1] = bytes([opcode])
        elif action < 0.6:
            data[at:at] = bytes([opcode])
        elif action < 0.7:
            data[at:at] = rng.choice(CODE)[:-1]
        else:
            return mutate_bytes(rng, bytes(data))
    return bytes(data)


def mutate_torch_zip(rng: random.Random, content: bytes) -> bytes:
    """Change the pickle in PyTorch's archive, or its entries, or any bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, content)
    with zipfile.ZipFile(BytesIO(content)) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = next(n for n, (name, _) in enumerate(entries) if name.endswith("data.pkl"))
    action = rng.random()
    if action < 0.7:
        entries[at] = entries[at][0], mutate_pickle(rng, entries[at][1])
    elif action < 0.8:
        del entries[rng.randrange(len(entries))]
    elif action < 0.9:
        other = rng.randrange(len(entries))
        entries[other] = entries[other][0], mutate_bytes(rng, entries[other][1])
    else:
        entries.append(rng.choice(entries))
    buffer = BytesIO()
    kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return buffer.getvalue()


def mutate_yaml(rng: random.Random, content: bytes) -> bytes:
    """Change values and structure of a YAML document."""
    if rng.random() < 0.4:
        return mutate_text(rng, content)
    lines = content.decode().split("\n")
    at = rng.randrange(len(lines))
    head = lines[at].split(":")[0]
    values = (
        *RAW[1:4],
        "null",
        "[1, 2",
        "{a: b}",
        "!!python/object/apply:os.system ['true']",
        "&a [*a]",
        "*a",
        "- 1",
        "1:",
    )
    lines[at] = f"{head}: {rng.choice((*values, *map(str, NUMBERS), '[' * 400, '2001-99-99', '0x', '|'))}"
    return "\n".join(lines).encode()


MUTATIONS = {
    "json": mutate_json,
    "text": mutate_text,
    "bytes": mutate_bytes,
    "safetensors": mutate_safetensors,
    "pickle": mutate_pickle,
    "torch": mutate_torch_zip,
    "yaml": mutate_yaml,
    "hostile pickle": lambda rng, content: make_pickle(rng),
    "hostile zip": lambda rng, content: in_zip(make_pickle(rng)),
    "hostile plain": lambda rng, content: in_plain_file(make_pickle(rng)),
}


def _make_sparse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.truncate(path, 1 << 40)


# What a name in a folder may be in place of the file -> a function that makes it from the path and the content.
HOSTILE = {
    "folder": lambda path, content: path.mkdir(),
    "named pipe": lambda path, content: os.mkfifo(path),
    "link to itself": lambda path, content: path.symlink_to(path.name),
    "link to /dev/zero": lambda path, content: path.symlink_to("/dev/zero"),
    "link to /dev/null": lambda path, content: path.symlink_to("/dev/null"),
    "link to its folder": lambda path, content: path.symlink_to(path.parent),
    "link to nothing": lambda path, content: path.symlink_to("missing"),
    "empty file": lambda path, content: path.write_bytes(b""),
    "file of a terabyte": _make_sparse,
}


def make_hostile(rng: random.Random, path: Path, content: bytes) -> None:
    """Put something else than the file at `path`."""
    HOSTILE[rng.choice(list(HOSTILE))](path, content)
