import json
from dataclasses import replace

import numpy as np
import pytest

from measuring import dataset, extractor, saved
from reports import MAKING, METHOD, interval
from sfumato.errors import InputError
from sfumato.evaluation.compare import Side, compare
from sfumato.evaluation.comparison import Comparison, Difference, differing
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.measures import MEASURES
from sfumato.evaluation.real import Real, sides
from sfumato.generation.request import Request

TOY = extractor()
N = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model") / "m", dataset())


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFUMATO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(one, other, out, **options):
    return compare(one, other, Real(dataset(), True, dataset(), None, ()), TOY, out, n=N, draws=40, **options)


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison") / "out"
    return run(Side(model, Request(3)), Side(model, Request(2)), out, seed=5)


def test_the_same_seeds_and_the_same_real_pictures(model, found):
    target = TOY.features(dataset().images[sides(dataset(), N).reference])
    pictures = [model.sample(N, seed=5, steps=steps).array for steps in (3, 2)]
    a, b = (frechet_distance(TOY.features(some), target) for some in pictures)
    comparison = found.comparison
    assert [difference.measure for difference in comparison.differences] == list(MEASURES)
    fd = comparison.differences[0]
    assert (fd.a.value, fd.b.value, fd.difference.value) == pytest.approx((a, b, a - b))
    assert (comparison.a.making.seeds, comparison.b.making.seeds) == ("5…28", "5…28")
    assert (comparison.a.making.steps, comparison.b.making.steps) == (3, 2)
    assert comparison.a.reference == comparison.b.reference
    apart = np.sqrt(((pictures[0].astype(float) - pictures[1]) ** 2).mean((1, 2, 3))).mean()
    assert comparison.apart.value == pytest.approx(apart)
    assert np.array_equal(found.a, pictures[0])
    assert np.array_equal(found.b, pictures[1])


def test_what_both_share_cancels(model, tmp_path):
    """Two solvers that give nearly the same pictures: far closer than their intervals are wide, and told apart."""
    found = run(
        Side(model, Request(8, "dpmpp-2m")),
        Side(model, Request(8, "dpmpp-2m", options=(("lower_order_final", False),))),
        tmp_path,
    )
    fd = found.comparison.differences[0]
    spread = fd.difference.high - fd.difference.low
    assert spread < 0.2 * (fd.a.high - fd.a.low)


def test_there_and_back_as_text_and_json(found, tmp_path):
    comparison = found.comparison
    comparison.save(tmp_path / "c.json")
    assert Comparison.load(tmp_path / "c.json") == comparison
    assert (
        json.loads((tmp_path / "c.json").read_text())["differences"][0]["verdict"] == comparison.differences[0].verdict
    )
    text = str(comparison)
    for fact in (
        "A - B",
        "3 steps (3 network calls)",
        "2 steps (2 network calls)",
        "95% intervals",
        "levels of 255 apart",
    ):
        assert fact in text
    assert all(difference.verdict in text for difference in comparison.differences)
    assert "measures of pairs" not in text
    first, second, *_ = comparison.differences
    few = replace(second, difference=replace(second.difference, n=(7, 7)))
    assert "measures of pairs are of the first 7" in str(replace(comparison, differences=(first, few)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "no comparison of format 1"),
        ("{}", "no comparison of format 1"),
        ('{"format": 2, "differences": []}', "no comparison of format 1: compare again$"),
        ('{"format": 1}', "not what a comparison writes"),
        ('{"format": 1, "differences": 3}', "not what a comparison writes"),
        ('{"format": 1, "differences": [{}]}', "not what a comparison writes"),
        ('{"format": 1, "differences": []}', "apart"),
    ],
)
def test_a_file_that_is_no_comparison(content, message, tmp_path):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        Comparison.load(tmp_path / "c.json")
    assert "c.json" in str(caught.value)


@pytest.mark.parametrize(
    ("measure", "low", "high", "verdict"),
    [
        ("fd", 1, 2, "B is better, beyond noise"),
        ("fd", -2, -1, "A is better, beyond noise"),
        ("fd", -1, 2, "within noise"),
        ("fd", 0, 2, "within noise"),
        ("recall", 1, 2, "A is better, beyond noise"),
        ("recall", -2, -1, "B is better, beyond noise"),
        ("vendi", 1, 2, "A is higher, beyond noise"),
        ("vendi", -2, -1, "B is higher, beyond noise"),
    ],
)
def test_verdicts(measure, low, high, verdict):
    assert Difference(measure, "", interval(), interval(), interval(1, low, high), METHOD, METHOD).verdict == verdict


def test_what_differs():
    assert differing(MAKING, MAKING) == []
    other = replace(MAKING, steps=9, guidance_scale=1.0)
    assert differing(MAKING, other) == [("steps", "4", "9"), ("guidance scale", "2.0", "1.0")]


def test_nothing_to_compare(model, tmp_path):
    with pytest.raises(InputError, match="the same model with the same settings"):
        run(Side(model, Request(4)), Side(model, Request()), tmp_path / "o")  # 4 is the default
    assert not (tmp_path / "o").exists()


def test_a_reference_that_favours_one_of_them(model, tmp_path):
    stranger = saved(tmp_path / "m", dataset(40, "others", 3))
    found = run(Side(model, Request(2)), Side(stranger, Request(3)), tmp_path / "o")
    assert found.comparison.notes == ("The reference is what A was trained on and B was not: that favours A.",)
    swapped = run(Side(stranger, Request(3)), Side(model, Request(2)), tmp_path / "p")
    assert "that favours B" in swapped.comparison.notes[-1]


def test_pictures_of_different_sizes(model, tmp_path):
    larger = saved(tmp_path / "m", size=(16, 16))
    with pytest.raises(InputError, match=r"the samples are to be \(16, 16, 3\)"):
        run(Side(model, Request(2)), Side(larger, Request(2)), tmp_path / "o")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "x").write_text("")
    with pytest.raises(InputError, match="something else"):
        run(Side(model, Request(2)), Side(model, Request(3)), tmp_path / "o")
