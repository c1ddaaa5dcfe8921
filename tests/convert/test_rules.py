"""Rules: patterns on whole segments, every error, and random tables against plain dictionaries."""

import numpy as np
import pytest

from ppdiffusers.convert.apply import apply_rules
from ppdiffusers.convert.rules import Drop, KeyMapping, Merge, Rename, Split, fill, inverse, match
from ppdiffusers.core.errors import ConversionError
from ppdiffusers.core.tensors import LazyTensor


def tensors(**arrays) -> dict[str, LazyTensor]:
    return {name.replace("__", "."): LazyTensor.of(np.asarray(array)) for name, array in arrays.items()}


def values(result) -> dict[str, list]:
    return {name: tensor.read().tolist() for name, tensor in result.items()}


@pytest.mark.parametrize(
    ("pattern", "key", "captured"),
    [
        ("a.b", "a.b", ()),
        ("a.b", "a.bc", None),
        ("a", "a.b", None),
        ("*.b", "a.b", (("a",),)),
        ("*.b", "b", None),
        ("**.b", "b", ((),)),
        ("**.b", "x.y.b", (("x", "y"),)),
        ("**.key.*", "key.key.w", (("key",), ("w",))),
        ("a.**", "a", ((),)),
        ("a.**", "a.b.c", (("b", "c"),)),
        ("a.*.c.**", "a.b.c.d.e", (("b",), ("d", "e"))),
    ],
)
def test_match(pattern, key, captured):
    assert match(pattern, key) == captured
    if captured is not None:
        assert fill(pattern, captured) == key


def test_renaming_works_on_whole_segments():
    source = tensors(x__key__weight=[1], x__keyboard__weight=[2], monkey=[3])
    assert values(apply_rules([Rename("**.key.*", "**.to_k.*")], source)) == {
        "x.keyboard.weight": [2],
        "monkey": [3],
        "x.to_k.weight": [1],
    }


def test_bare_parameters_are_transposed_when_marked():
    result = apply_rules([Rename("p", "p.weight", transpose=True)], tensors(p=[[1, 2, 3], [4, 5, 6]]))
    assert result["p.weight"].shape == (3, 2)
    assert values(result) == {"p.weight": [[1, 4], [2, 5], [3, 6]]}


def test_split_and_merge_are_inverse():
    source = tensors(a__qkv=np.arange(24).reshape(6, 4), b__qkv=np.arange(12).reshape(6, 2))
    for axis, rules in ((0, [Split("*.qkv", ("*.q", "*.k", "*.v"))]), (1, [Split("*.qkv", ("*.q", "*.k"), axis=1)])):
        split = apply_rules(rules, source)
        assert split["a.q"].read().tolist() == np.split(source["a.qkv"].read(), (3, 2)[axis], axis)[0].tolist()
        assert values(apply_rules(inverse(rules), split)) == values(source)


def test_drop():
    assert values(apply_rules([Drop("**.ids")], tensors(a__ids=[1], b=[2]))) == {"b": [2]}
    with pytest.raises(ValueError, match="no inverse"):
        inverse([Drop("a")])


@pytest.mark.parametrize(
    ("rules", "source", "finding"),
    [
        ([Rename("a", "b"), Rename("x", "y")], tensors(a=[1]), "matches nothing"),
        ([Rename("a.*", "b.*"), Rename("*.c", "*.d")], tensors(a__c=[1], a__b=[1], e__c=[1]), "a.c: matched by"),
        ([Rename("a", "b")], tensors(a=[1], b=[2]), "b: two tensors"),
        ([Rename("a", "b", transpose=True)], tensors(a=[1]), "expected a matrix, found"),
        ([Merge(("a", "b"), "c")], tensors(a=[1]), "without b"),
        ([Merge(("a", "b"), "c")], tensors(a=[1], b=[[1, 2]]), "cannot be merged"),
        ([Merge(("a", "b"), "c")], tensors(a=[1], b=[1.5]), "cannot be merged"),
        ([Split("a", ("b", "c"))], tensors(a=[1, 2, 3]), "cannot be split"),
        ([Split("a", ("b", "c"), axis=1)], tensors(a=[1, 2]), "cannot be split"),
        ([Rename("a.*", "b")], tensors(a__c=[1]), "different wildcards"),
        ([Rename("*.a.**", "**.b.*")], tensors(a__a__c=[1]), "different wildcards"),
    ],
)
def test_findings(rules, source, finding):
    with pytest.raises(ConversionError) as caught:
        apply_rules(rules, source, where="file", name="the table")
    assert any(finding in problem for problem in caught.value.problems)


def test_all_findings_at_once():
    rules = [Rename("a", "b"), Rename("x", "y"), Split("s", ("t", "u")), Drop("maybe", optional=True)]
    with pytest.raises(ConversionError) as caught:
        apply_rules(rules, tensors(a=[1], b=[2], s=[1, 2, 3]))
    assert len(caught.value.problems) == 3


def test_applying_rules_reads_nothing():
    def never():
        raise AssertionError("read")

    source = {name: LazyTensor("float32", (4, 4), never) for name in "abcd"}
    rules = [Rename("a", "x", transpose=True), Split("b", ("b1", "b2")), Merge(("c", "d"), "cd")]
    assert {k: t.shape for k, t in apply_rules(rules, source).items()} == {
        "x": (4, 4),
        "b1": (2, 4),
        "b2": (2, 4),
        "cd": (8, 4),
    }


def test_key_mapping_matches():
    mapping = KeyMapping("f", present=("a.*", "b"), absent=("c.**",), rules=())
    assert mapping.matches(["a.x", "b", "z"])
    assert not mapping.matches(["a.x"])
    assert not mapping.matches(["a.x", "b", "c.d.e"])


@pytest.mark.parametrize("seed", range(30))
def test_random_tables(seed):
    """Apply a random table of renames, splits and merges, and its inverse; compare with dictionaries."""
    rng = np.random.default_rng(seed)
    rules, source, expected = [], {}, {}
    for block in range(rng.integers(1, 6)):
        kind = rng.choice(["rename", "transpose", "split", "merge", "keep"])
        layers = [str(n) for n in range(rng.integers(1, 4))]
        parts, axis = int(rng.integers(2, 4)), int(rng.integers(0, 2))
        names = [f"part{n}" for n in range(parts)]
        for layer in layers:
            array = rng.standard_normal((parts * 2, parts * 3))
            old, new = f"old{block}.{layer}", f"new{block}.{layer}"
            pieces = np.split(array, parts, axis)
            if kind == "keep":
                source[old] = expected[old] = array
            elif kind in ("rename", "transpose"):
                source[f"{old}.w"], expected[f"{new}.w"] = array, array.T if kind == "transpose" else array
            elif kind == "split":
                source[f"{old}.w"] = array
                expected |= {f"{new}.{name}.w": piece for name, piece in zip(names, pieces, strict=True)}
            else:
                expected[f"{new}.w"] = array
                source |= {f"{old}.{name}.w": piece for name, piece in zip(names, pieces, strict=True)}
        if kind in ("rename", "transpose"):
            rules.append(Rename(f"old{block}.**", f"new{block}.**", transpose=kind == "transpose"))
        elif kind == "split":
            rules.append(Split(f"old{block}.*.w", tuple(f"new{block}.*.{name}.w" for name in names), axis))
        elif kind == "merge":
            rules.append(Merge(tuple(f"old{block}.*.{name}.w" for name in names), f"new{block}.*.w", axis))
    rng.shuffle(rules)
    keys = list(source)
    rng.shuffle(keys)
    there = apply_rules(rules, {key: LazyTensor.of(source[key]) for key in keys})
    assert set(there) == set(expected)
    for key, tensor in there.items():
        assert tensor.shape == expected[key].shape
        assert np.array_equal(tensor.read(), expected[key])
    back = apply_rules(inverse(rules), there)
    assert set(back) == set(source)
    assert all(np.array_equal(back[key].read(), source[key]) for key in source)


def test_a_convolution_of_one_pixel_becomes_a_matrix():
    source = tensors(conv=np.arange(6).reshape(3, 2, 1, 1), qkv=np.arange(12).reshape(6, 2, 1))
    rules = [Rename("conv", "linear", ones=2), Split("qkv", ("q", "k", "v"), ones=1)]
    result = apply_rules(rules, source)
    assert values(result) == {
        "linear": [[0, 1], [2, 3], [4, 5]],
        "q": [[0, 1], [2, 3]],
        "k": [[4, 5], [6, 7]],
        "v": [[8, 9], [10, 11]],
    }
    assert result["linear"].shape == (3, 2)
    back = apply_rules(inverse(rules), result)
    assert {name: tensor.shape for name, tensor in back.items()} == {"conv": (3, 2, 1, 1), "qkv": (6, 2, 1)}
    assert values(back) == values(source)


def test_a_transposed_matrix_with_ones_comes_back():
    source = tensors(w=np.arange(6).reshape(3, 2, 1))
    rules = [Rename("w", "m", transpose=True, ones=1)]
    assert values(apply_rules(rules, source)) == {"m": [[0, 2, 4], [1, 3, 5]]}
    assert values(apply_rules(inverse(rules), apply_rules(rules, source))) == values(source)


def test_a_row_becomes_a_vector_and_comes_back():
    source = tensors(w=np.arange(3).reshape(1, 3))
    rules = [Rename("w", "v", leading=1)]
    assert values(apply_rules(rules, source)) == {"v": [0, 1, 2]}
    assert values(apply_rules(inverse(rules), apply_rules(rules, source))) == values(source)


@pytest.mark.parametrize("axis", [0, 1])
def test_heads_that_store_queries_keys_and_values_together(axis):
    # two heads, three parts, width two: [head, part, width]
    whole = np.arange(12 * 5).reshape((12, 5) if axis == 0 else (5, 12))
    rules = [Split("qkv", ("q", "k", "v"), axis=axis, groups=2)]
    result = apply_rules(rules, tensors(qkv=whole))
    for part, name in enumerate("qkv"):
        rows = [2 * part, 2 * part + 1, 6 + 2 * part, 7 + 2 * part]
        np.testing.assert_array_equal(result[name].read(), np.take(whole, rows, axis=axis))
    assert values(apply_rules(inverse(rules), result)) == {"qkv": whole.tolist()}


@pytest.mark.parametrize(
    ("rule", "shape", "message"),
    [
        (Rename("x", "y", ones=2), (3, 2, 3, 3), "2 trailing axes of length one"),
        (Rename("x", "y", transpose=True, ones=1), (3, 1), "a matrix with 1 trailing axes"),
        (Split("x", ("y", "z"), ones=1), (4, 2), "cannot be split into 2"),
        (Split("x", ("y", "z"), groups=2), (6, 2), "cannot be split into 2 times 2"),
    ],
)
def test_shapes_that_do_not_fit_the_rule(rule, shape, message):
    with pytest.raises(ConversionError, match=message):
        apply_rules([rule], tensors(x=np.zeros(shape)))


def test_groups_that_cannot_be_merged():
    with pytest.raises(ConversionError, match="cannot be merged"):
        apply_rules([Merge(("x", "y"), "z", groups=2)], tensors(x=np.zeros(4), y=np.zeros(3)))
