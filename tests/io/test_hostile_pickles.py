"""Pickles made to hang the reader, crash the interpreter or fill the memory: refused or read, within seconds."""

import resource
import struct
import time

import pytest

from ppdiffusers.core.errors import PPDiffusersError, WeightsError
from ppdiffusers.io import torch_pickle
from ppdiffusers.io.pickle_reader import PickledDict
from ppdiffusers.io.weights import open_weights

MANY = 100_000
PROTO = b"\x80\x04"
ORDERED_DICT = b"ccollections\nOrderedDict\n"
PAIR = b"K\x00" + b"2\x86" * 40  # forty pairs of the pair before: 2**40 leaves


def int_keys(values) -> bytes:
    return b"".join(b"\x8a\x10" + int(value).to_bytes(16, "little", signed=True) + b"N" for value in values)


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
    "the same string decoded by calls": (
        PROTO + b"X\x00\x04\x00\x00" + b"a" * 1024 + b"q\x000(" + b"c_codecs\nencode\nh\x00\x85R" * MANY + b"l."
    ),
    "integers with one hash": PROTO + b"}(" + int_keys(n * (2**61 - 1) for n in range(100_000)) + b"u.",
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


@pytest.mark.parametrize("suffix", [".bin", ".pdparams"])
@pytest.mark.parametrize("case", BOMBS)
def test_bombs(tmp_path, case, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(BOMBS[case])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        assert len(open_weights(path)) == 0  # a dictionary without tensors
    except PPDiffusersError as error:
        assert len(str(error)) < 10_000
    assert time.process_time() - start < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000  # KiB


@pytest.mark.parametrize("target", ["torch\nfloat32", "torch\nFloatStorage", "collections\nOrderedDict", "torch\nSize"])
def test_a_pickle_cannot_change_what_its_globals_stand_for(tmp_path, target):
    table = dict(torch_pickle._TABLE)
    states = {name: dict(getattr(value, "__dict__", {})) for name, value in table.items()}
    path = tmp_path / "a.bin"
    for state in (b"}X\x04\x00\x00\x00nameX\x01\x00\x00\x00as", b"N}X\x04\x00\x00\x00nameNs\x86"):
        path.write_bytes(PROTO + b"c" + target.encode() + b"\n" + state + b"b.")
        with pytest.raises(WeightsError, match="a state for a"):
            open_weights(path)
    assert table == torch_pickle._TABLE
    assert states == {name: dict(getattr(value, "__dict__", {})) for name, value in table.items()}


def test_keys_of_other_types_become_unique_strings():
    made = PickledDict()
    keys = ["a", 3, -5, None, 2**59, b"b", 2.5, (1, 2), (1, 3), 2**70]
    for number, key in enumerate(keys):
        made[key] = number
    assert list(made)[:5] == keys[:5]
    assert all(isinstance(key, str) for key in list(made)[5:])
    assert list(made.values()) == list(range(len(keys)))
