import pytest
import torch

from sfumato.errors import InputError
from sfumato.networks.condition import Condition

TWO = Condition(labels=torch.tensor([[1], [2]]), context=torch.arange(12.0).reshape(2, 3, 2))


def test_two_halves_of_one_call():
    both = TWO.and_then(Condition(labels=torch.tensor([[-1], [-1]]), context=torch.zeros(2, 3, 2)))
    assert both.labels is not None
    assert both.context is not None
    assert both.labels[:, 0].tolist() == [1, 2, -1, -1]
    assert both[:2].equals(TWO)
    assert not both[2:].equals(TWO)
    assert both.words is both.mask is both.pictures is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Condition(labels=torch.tensor([[1], [2]])), r"context .* not \(2, 3, 2\) and None"),
        (Condition(torch.zeros(2, 1), context=torch.zeros(2, 4, 2)), r"context .* not \(2, 3, 2\) and \(2, 4, 2\)"),
    ],
)
def test_halves_that_do_not_match(other, message):
    with pytest.raises(InputError, match=message):
        TWO.and_then(other)


def test_equality_looks_at_every_part():
    assert TWO.equals(Condition(TWO.labels, context=TWO.context))
    assert not TWO.equals(Condition(TWO.labels))
    assert not TWO.equals(Condition(TWO.labels, context=torch.zeros(2, 3, 2)))
    assert Condition().equals(Condition())


def test_a_tensor_stands_for_labels():
    rows = torch.tensor([[3]])
    assert Condition.of(rows).labels is rows
    assert Condition.of(TWO) is TWO
    assert Condition.of(None).equals(Condition())
