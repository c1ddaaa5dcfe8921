"""Pickles made to run code, hang the reader, crash the interpreter or fill the memory: some known, others at random."""

from __future__ import annotations

import random
import struct
import zipfile
from io import BytesIO

MANY = 100_000
PROTO = b"\x80\x04"
ORDERED_DICT = b"ccollections\nOrderedDict\n"
PAIR = b"K\x00" + b"2\x86" * 40  # forty pairs of the pair before: 2**40 leaves


def int_keys(values) -> bytes:
    return b"".join(b"\x8a\x10" + int(value).to_bytes(16, "little", signed=True) + b"N" for value in values)


def integer_flood() -> bytes:
    """Return a dictionary whose integers fill one chain of a table, with others that walk it each time."""
    chain = [0]
    while len(chain) < 8000:
        chain.append((chain[-1] * 5 + 1) % 32768)
    taken, found = set(chain), []
    for number in range(1, 30_000):
        key = at = 0
        rest = key = number << 15
        while rest and at in taken:
            rest >>= 5
            at = (at * 5 + rest + 1) % 32768
        if at in taken:
            found.append(key)
    return PROTO + b"}(" + int_keys([*chain, *found * 500]) + b"u."


def split_flood() -> bytes:
    """Return a `.pdparams` file whose table of split tensors names 8,000 parts for each of 8,000 tensors."""
    array = b"cnumpy.core.multiarray\n_reconstruct\n)Rs"
    tensors = b"".join(b"X\x05\0\0\0%05d" % n + array for n in range(8000))
    names = b"X\x05\0\0\x0000000q\x05X\x06\0\0\0slicesq\x08X\x0b\0\0\0OriginShapeq\x09)q\x07"
    parts = b"](" + b"h\x05" * 8000 + b"eq\x060" + b"0" * 4
    entries = b"".join(b"X\x05\0\0\0x%04d}h\x08h\x06sh\x09h\x07ss" % n for n in range(8000))
    return PROTO + names + parts + b"}" + tensors + b"X\x15\0\0\0UnpackBigParamInfor@@}" + entries + b"s."


COPY = b"h\x00h\x01R0" * 240_000 + b"N."  # calls of the object 0 with the tuple 1
BOMBS = {
    "two million nested tuples": PROTO + b")" + b"\x85" * 2_000_000 + b".",
    "deeply nested tuples as a key": PROTO + b"})" + b"\x85" * MANY + b"Ns.",
    "deeply nested tuples as a persistent id": PROTO + b")" + b"\x85" * MANY + b"Q.",
    "nested lists": PROTO + b"]" * MANY + b"a" * (MANY - 1) + b".",
    "nested lists as a state dict": PROTO + b"}X\x01\x00\x00\x00a" + b"]" * MANY + b"a" * (MANY - 1) + b"s.",
    "nested dictionaries": PROTO + b"}K\x00" * MANY + b"N" + b"s" * MANY + b".",
    "nested objects": PROTO + b"ctorch\ndevice\n" * MANY + b")" + b"R\x85" * (MANY - 1) + b"R.",
    "nested calls": PROTO + b"ctorch._utils\n_rebuild_parameter\n" * MANY + b")" + b"R\x85" * (MANY - 1) + b"R.",
    "nested rebuilds": PROTO
    + b"ctorch._tensor\n_rebuild_from_type_v2\nq\x000"
    + b"h\x00N" * 5000
    + b")"
    + b"N(tt" * 5000
    + b"R.",
    "set of nested tuples": PROTO + b"\x8f(" + PAIR + b"\x90.",
    "frozenset of nested tuples": PROTO + b"(" + PAIR + b"\x91.",
    "builtins.set of nested tuples": PROTO + b"cbuiltins\nset\n]" + PAIR + b"a\x85R.",
    "dictionary with a nested tuple as a key": PROTO + b"}" + PAIR + b"K\x01s.",
    "dictionary opcode with a nested tuple as a key": b"(" + PAIR + b"K\x01d.",
    "OrderedDict with a nested tuple as a key": PROTO + ORDERED_DICT + b"](" + PAIR + b"Nta\x85R.",
    "Counter with a nested tuple as a key": PROTO + b"ccollections\nCounter\n}" + PAIR + b"Ns\x85R.",
    "message with a nested tuple": PROTO + PAIR + b")R.",
    "message with nested dictionaries": PROTO + b"N" + b"q\x000}K\x00h\x00sK\x01h\x00s" * 60 + b"Q.",
    "message with nested objects": PROTO + b"N" + b"q\x000ctorch\ndevice\nh\x00h\x00\x86R" * 60 + b"\x85Q.",
    "the same list copied by calls": PROTO
    + b"]("
    + b"N" * MANY
    + b"eq\x000("
    + b"cbuiltins\nlist\nh\x00\x85R" * MANY
    + b"l.",
    "the same pairs copied by calls": (
        PROTO + b"](" + b"NN\x86" * MANY + b"eq\x000(" + (ORDERED_DICT + b"h\x00\x85R") * MANY + b"l."
    ),
    "calls that copy a tuple of many arguments": PROTO + b"cbuiltins\nlist\nq\x00(" + b"N" * 20_000 + b"tq\x01" + COPY,
    "refused calls that copy a tuple of many arguments": (
        PROTO + b"cos\nsystem\nq\x00(" + b"N" * 20_000 + b"tq\x01" + COPY
    ),
    "the same string decoded by calls": (
        PROTO + b"X\x00\x04\x00\x00" + b"a" * 1024 + b"q\x000(" + b"c_codecs\nencode\nh\x00\x85R" * MANY + b"l."
    ),
    "integers with one hash": PROTO + b"}(" + int_keys(n * (2**61 - 1) for n in range(100_000)) + b"u.",
    "integers that collide in a table": integer_flood(),
    "empty dictionaries": PROTO + b"}" * 900_000 + b".",
    "half a million names": PROTO + b"".join(b"ca%d\nb\n0" % n for n in range(300_000)) + b"N.",
    "parts of tensors given to every tensor": split_flood(),
    "long names of many lists": PROTO + b"}X\xf0\x01\0\0" + b"a" * 496 + b"](" + b"]Na" * 300_000 + b"es.",
    "the same tensor under many names": PROTO
    + b"}("
    + b"".join(b"M%bN" % struct.pack("<H", n) for n in range(60_000))
    + b"u.",
    "an integer of ten million digits": b"I" + b"1" * 10**7 + b"\n.",
    "a long of ten million digits": b"L" + b"1" * 10**7 + b"L\n.",
    "a float of ten million digits": b"F" + b"1" * 10**7 + b"\n.",
    "LONG4 of ten megabytes": PROTO + b"\x8b" + struct.pack("<i", 10**7) + b"\x7f" * 10**7 + b".",
    "a memo index of 2**32 - 1": PROTO + b"]r" + struct.pack("<I", 2**32 - 1) + b".",
    "a memo index of ten digits": b"(lp4294967295\n.",
    "six million opcodes": PROTO + b"N0" * 3_000_000 + b"N.",
    "extension registry": PROTO + b"\x82\x01.",
    "out-of-band buffer": PROTO + b"\x97.",
}


# -- at random ------------------------------------------------------------------------------------------------------

_NAMES = (
    ("os", "system", "true"),
    ("posix", "system", "true"),
    ("nt", "system", "true"),
    ("subprocess", "Popen", "true"),
    ("builtins", "eval", "__import__('os').system('true')"),
    ("builtins", "exec", "import os; os.system('true')"),
    ("__builtin__", "__import__", "os"),
    ("builtins", "getattr", "x"),
    ("builtins", "open", "/tmp/x"),
    ("importlib", "import_module", "os"),
    ("runpy", "run_path", "x.py"),
    ("pickle", "loads", "x"),
    ("torch", "load", "x"),
    ("torch._utils", "_rebuild_tensor_v2.__globals__", "x"),
    ("numpy", "fromfile", "x"),
    ("numpy.core.multiarray", "_reconstruct.__globals__", "x"),
    ("collections", "namedtuple", "x"),
    ("functools", "partial", "x"),
    ("operator", "attrgetter", "x"),
    ("socket", "create_connection", "x"),
)
_KNOWN = (  # names that readers accept
    *(f"builtins {name}" for name in ("list", "tuple", "set", "frozenset", "dict", "bytes", "complex")),
    *(f"collections {name}" for name in ("OrderedDict", "Counter", "defaultdict")),
    *(f"torch._utils _rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3", "parameter")),
    *("torch._tensor _rebuild_from_type_v2", "torch FloatStorage", "torch float32", "torch device", "torch Size"),
    *("numpy dtype", "numpy ndarray", "numpy.core.multiarray _reconstruct", "numpy.core.multiarray scalar"),
    "_codecs encode",
)


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _code(rng: random.Random) -> bytes:
    module, name, argument = rng.choice(_NAMES)
    called = f"c{module}\n{name}\n".encode()
    return rng.choice(
        (
            called + _text(argument) + b"\x85R",
            _text(module) + _text(name) + b"\x93" + _text(argument) + b"\x85R",
            b"(" + _text(argument) + f"i{module}\n{name}\n".encode(),
            b"(" + called + _text(argument) + b"o",
            called + _text(argument) + b"\x85\x81",
            called + _text(argument) + b"\x85}\x92",
            called + b"}" + _text("__setstate__") + called + b"sb" + _text(argument) + b"b",
        )
    )


def _large(rng: random.Random) -> bytes:
    """Return a value that is large, deep, or exponential when it is hashed or printed."""
    count = rng.choice((50, 3000, 100_000))
    return rng.choice(
        (
            b"K\x00" + b"2\x86" * 40,
            b"K\x00" + b"2\x86" * rng.randrange(10, 200),
            b")" + b"\x85" * count,
            b"]" * count + b"a" * (count - 1),
            b"}K\x00" * count + b"N" + b"s" * count,
            b"(" + b"N" * count + b"l",
            b"(" + b"N" * count + b"t",
            b"N" + b"q\x00}K\x00h\x00sK\x01h\x00s" * 40,
            b"\x8b" + struct.pack("<i", count) + b"\x7f" * count,
            b"\x8a\xff" + rng.randbytes(255),
            b"X" + struct.pack("<I", count) + b"a" * count,
            b"X" + struct.pack("<I", 2000) + b"a" * 100,
            b"\x8e" + struct.pack("<Q", rng.choice((2000, 2**40, 2**63))),
            b"I" + b"9" * count + b"\n",
            b"G" + rng.randbytes(8),
            b"]q\x01(" + b"h\x01" * count + b"e",
        )
    )


def _value(rng: random.Random, depth: int) -> bytes:
    """Return opcodes that leave one object on the stack."""
    if depth == 0 or rng.random() < 0.25:
        return rng.choice((_code, _large, lambda _: b"N", lambda _: b"K\x07", lambda _: _text("weight")))(rng)
    inner = [_value(rng, depth - 1) for _ in range(rng.choice((1, 2, 2, 3)))]
    known = "c{}\n{}\n".format(*rng.choice(_KNOWN).split()).encode()
    once = inner[0]
    return rng.choice(
        (
            b"\x8f(" + b"".join(inner) + b"\x90",  # a set
            b"(" + b"".join(inner) + b"\x91",  # a frozenset
            b"}" + once + b"Ns",  # as a key
            b"}" + _text("weight") + once + b"s",
            b"(" + once + b"Nd",
            b"(" + b"".join(inner) + b"t",
            known + b"(" + b"".join(inner) + b"tR",
            known + b"](" + once + b"Nta\x85R",  # a list of pairs
            known + once + b"R",
            known + b")R" + once + b"b",  # as a state
            once + b"Q",  # as a persistent id
            b"]q\x02(" + once + b"e0(" + (known + b"h\x02\x85R") * rng.choice((2, 1000, 20_000)) + b"l",
            once + b"q\x030(" + b"h\x03" * rng.choice((2, 1000, 100_000)) + b"t",
            once + b"(" + b"".join(inner) + b"tR",  # a call of something that is no function
            once + rng.choice((b"a", b"e", b"s", b"u", b"b", b"R", b"\x93", b"1", b"2", b"0")),
        )
    )


def make_pickle(rng: random.Random) -> bytes:
    """Return one of the known bombs, or a state dict with hostile keys, values, calls or states."""
    if rng.random() < 0.15:
        return BOMBS[rng.choice(list(BOMBS))]
    items = (_text(f"weight.{n}") + _value(rng, rng.choice((1, 2, 3))) for n in range(rng.choice((1, 2, 5))))
    if rng.random() < 0.3:
        return PROTO + _value(rng, 4) + b"."
    return PROTO + b"}(" + b"".join(items) + b"u."


def in_zip(pickled: bytes) -> bytes:
    """Return an archive of PyTorch whose `data.pkl` this is."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (("data.pkl", pickled), ("version", b"3\n"), ("data/0", bytes(64))):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
    return buffer.getvalue()


def in_plain_file(pickled: bytes) -> bytes:
    """Return a file of PyTorch before the archives, whose content this is."""
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    return magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}q\x00." + pickled + b"\x80\x02]."


FORMS = {  # of a file -> the name of a file of this form, and its content
    "pdparams": ("a.pdparams", bytes),
    "zip": ("a.bin", in_zip),
    "plain": ("a.ckpt", in_plain_file),
}
