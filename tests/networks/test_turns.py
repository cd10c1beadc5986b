import gc
import weakref

import pytest
import torch
from torch import nn

from sfumato.errors import InputError
from sfumato.networks.turns import Turns


class Place(nn.Linear):
    """A network that notes where it is sent."""

    def __init__(self):
        super().__init__(1, 1)
        self.way = []

    def to(self, device):  # type: ignore[override]
        self.way.append(str(device))
        return self


def two(offload):
    made = []

    def read():
        made.append(Place())
        return made[-1]

    turns = Turns("cuda:0", offload)
    return turns, turns.add(read), turns.add(read), made


def test_without_offloading_all_stay_on_the_device():
    _, first, second, made = two(None)
    for turn, network in ((first, made[0]), (second, made[1]), (first, made[0])):
        assert turn() is network
    assert [network.way for network in made] == [["cuda:0"]] * 2


def test_one_at_a_time_is_on_the_device():
    _, first, second, made = two("cpu")
    assert [network.way for network in made] == [[], []]  # nothing is moved before its turn
    for turn in (first, first, second, second, first):
        assert turn() is made[turn is second]
    assert made[0].way == ["cuda:0", "cpu", "cuda:0"]
    assert made[1].way == ["cuda:0", "cpu"]


def test_one_at_a_time_is_in_memory():
    turns, alive = Turns("cpu", "disk"), []

    def read():
        network = nn.Linear(4, 4)
        alive.append(weakref.ref(network))
        return network

    first, second = turns.add(read), turns.add(read)
    assert alive == []
    for number, turn in enumerate((first, second, first), 1):
        assert turn() is turn()
        gc.collect()
        assert len(alive) == number
        assert [network() is not None for network in alive] == [False] * (number - 1) + [True]


def test_a_network_that_came_from_no_file_is_kept():
    turns, network = Turns("cpu", "disk"), nn.Linear(1, 1)
    first, second = turns.add(network), turns.add(nn.Linear(1, 1))
    assert first() is network
    second()
    assert first() is network


def test_turns_of_a_device():
    turns = Turns.of("cpu")
    assert (turns.device, turns.offload) == (torch.device("cpu"), None)
    assert Turns.of(turns) is turns


def test_another_word():
    with pytest.raises(InputError, match=r"to cpu or disk, not to 'disc'\. Did you mean 'disk'\?"):
        Turns("cpu", "disc")  # type: ignore[arg-type]
