import numpy as np
import pytest
import torch

from exact import doubles
from sfumato.errors import InputError
from sfumato.guidance.thresholding import clipped, dynamically_thresholded


def giving(values):
    x0 = torch.as_tensor(values, dtype=torch.float64)
    return lambda x, t: x0


def dynamic(values, p):
    return dynamically_thresholded(giving(values), p)(torch.zeros(1), 0.5)


def test_clipping_by_hand():
    found = clipped(giving([[-3.0, -1.0, 0.25, 1.0, 1.5]]))(torch.zeros(1), 0.5)
    assert found.tolist() == [[-1.0, -1.0, 0.25, 1.0, 1.0]]


def test_dynamic_by_hand():
    """|x̂0| = 0, 1, 2, 3, 4: the 75th percentile is 3, so 4 is cut to 3 and all is divided by 3."""
    assert dynamic([[-4.0, 1.0, 0.0, 3.0, -2.0]], 75).tolist() == [[-1.0, 1 / 3, 0.0, 1.0, -2 / 3]]
    assert dynamic([[-4.0, 1.0, 0.0, 3.0, -2.0]], 100).tolist() == [[-1.0, 0.25, 0.0, 0.75, -0.5]]
    # between two values: 60 % of the way from the first to the last is 2.4
    torch.testing.assert_close(
        dynamic([[-4.0, 1.0, 0.0, 3.0, -2.0]], 60), torch.tensor([[-2.4, 1, 0, 2.4, -2]]).double() / 2.4
    )


def test_what_lies_within_the_range_stays_and_s_is_never_below_one():
    inside = 0.5 * doubles(2, 3, 4, 4).tanh()
    assert torch.equal(dynamic(inside, 99.5), inside)
    # one value of 100 outside: its percentile is below 1, so it is cut at 1 as by `clipped`
    values = torch.linspace(-0.9, 0.9, 100)[None].double()
    values[0, 3] = 7.0
    assert torch.equal(dynamic(values, 95), values.clamp(-1, 1))


def test_each_picture_has_its_own_percentile():
    values = torch.stack([doubles(3, 8, 8), 5 * doubles(3, 8, 8, seed=1)])
    found = dynamic(values, 97.3)
    for i in range(2):
        s = max(1.0, float(np.percentile(values[i].abs().numpy(), 97.3)))
        torch.testing.assert_close(found[i], values[i].clamp(-s, s) / s)
        assert torch.equal(dynamic(values[i : i + 1], 97.3)[0], found[i])
    assert found.abs().max() == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_hidden(bad):
    values = [[0.5, bad, 0.1, 0.2], [0.5, 2.0, 0.1, 0.2]]
    for found in (clipped(giving(values))(torch.zeros(1), 0.5), dynamic(values, 60)):
        assert not found[0].isfinite().all()
        assert found[1].isfinite().all()


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (0.995, r"percentile from 50 to 100, such as 99.5, not 0.995. A share of 0.995 is a percentile of 99.5"),
        (100.5, "not 100.5"),
        (-1.0, "not -1.0"),
        (float("nan"), "not nan"),
    ],
)
def test_impossible_percentiles(p, message):
    with pytest.raises(InputError, match=message):
        dynamically_thresholded(giving([[0.0]]), p)
