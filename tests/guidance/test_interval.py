import pytest
import torch

from sfumato.errors import InputError
from sfumato.guidance.interval import within


def test_guides_from_low_to_high_and_calls_nothing_else():
    calls = []

    def named(name):
        def denoise(x, t):
            calls.append((name, t))
            return x

        return denoise

    guided = within(named("guided"), named("plain"), 0.25, 0.75)
    for t in (1.0, 0.7500001, 0.75, 0.5, 0.25, 0.2499999, 0.0):
        guided(torch.zeros(1), t)
    assert calls == [
        ("plain", 1.0),
        ("plain", 0.7500001),
        ("guided", 0.75),
        ("guided", 0.5),
        ("guided", 0.25),
        ("plain", 0.2499999),
        ("plain", 0.0),
    ]


@pytest.mark.parametrize("ends", [(0.8, 0.2), (-0.1, 0.5), (0.1, 1.5), (float("nan"), 0.5), (0.2, float("nan"))])
def test_impossible_intervals(ends):
    with pytest.raises(InputError, match="a guidance interval is two times"):
        within(lambda x, t: x, lambda x, t: x, *ends)


def test_an_interval_may_be_one_time():
    assert within(lambda x, t: x + 1, lambda x, t: x, 0.5, 0.5)(torch.zeros(1), 0.5) == 1
