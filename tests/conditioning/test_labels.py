import numpy as np
import pytest

from factory import LABELS
from sfumato.conditioning.labels import LabelSet
from sfumato.errors import InputError


@pytest.mark.parametrize(
    ("label", "row"),
    [
        ("food", [0, -1]),
        ("Food, FLAT", [0, 2]),
        (["flat", "animals"], [1, 2]),
        ("style=noto", [-1, 0]),
        ("none", [-1, -1]),
    ],
)
def test_names_to_numbers(label, row):
    assert LABELS.resolve(label) == row


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("fluent2", "Did you mean 'fluent'"),
        ("groop=food", "Did you mean 'group'"),
        ("group=zzz", "Known: food, animals"),
        ("food,animals", "two labels of kind 'group'"),
        ("", "names nothing"),
        ("food,,noto", "names nothing"),
        ((), "names nothing"),
    ],
)
def test_wrong_names(label, message):
    with pytest.raises(InputError, match=message):
        LABELS.resolve(label)


def test_a_name_of_two_kinds_must_say_which():
    labels = LabelSet({"a": ("x", "y"), "b": ("x",)})
    assert labels.resolve("b=x, a=y") == [1, 0]
    with pytest.raises(InputError, match="a=x or b=x"):
        labels.resolve("x")


def test_what_training_never_saw_cannot_be_asked_for():
    labels = LabelSet({"k": ("a", "b", "c")}, counts=(((0,), 5), ((2,), 1), ((-1,), 1)))
    assert labels.seen == {"k": ("a", "c")}
    assert labels.resolve("c") == [2]
    with pytest.raises(InputError, match=r"no label 'b'\. Known: a, c"):
        labels.resolve("b")


def test_counts_combinations_and_describes_them():
    labels = LabelSet.of({"k": ("a", "b")}, np.array([[1], [0], [1], [-1]]), 0.2)
    assert dict(labels.counts) == {(-1,): 1, (0,): 1, (1,): 2}
    assert LABELS.describe([0, -1]) == ["group=food"]
    assert LABELS.describe([-1, -1]) == ["none"]
    assert LABELS.resolve(LABELS.describe([1, 2])) == [1, 2]


def test_names_with_commas_equals_signs_and_case():
    labels = LabelSet({"k": ("Cat", "cat", "a,b", "c=d", "none")})
    assert [labels.resolve(name) for name in ("Cat", "cat", "a,b", "k=c=d", "c=d", "none")] == [
        [0],
        [1],
        [2],
        [3],
        [3],
        [4],
    ]
    with pytest.raises(InputError, match="k=Cat or k=cat"):
        labels.resolve("CAT")


@pytest.mark.parametrize(
    "facts",
    [
        {"kinds": {"k": ("a", "a")}},
        {"kinds": {"k": ("",)}},
        {"kinds": {"k": ("a",)}, "counts": (((0, 0), 1),)},
        {"kinds": {"k": ("a",)}, "counts": (((1,), 1),)},
        {"kinds": {"k": ("a",)}, "counts": (((0,), 0),)},
        {"kinds": {"k": ("a",)}, "dropout": float("nan")},
    ],
)
def test_refuses_label_sets_that_cannot_be(facts):
    with pytest.raises(InputError):
        LabelSet(**facts)


def test_a_model_without_labels():
    nothing = LabelSet.of({}, np.zeros((5, 0), np.int64), 0.1)
    assert nothing.rows(None, [1, 2]).shape == (2, 0)
    assert nothing.rows("none", [1]).shape == (1, 0)
    with pytest.raises(InputError, match="without labels"):
        nothing.resolve("food")
