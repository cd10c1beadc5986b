import numpy as np
import pytest

from measuring import extractor
from sfumato.errors import InputError
from sfumato.evaluation import measures
from sfumato.evaluation.cmmd import cmmd
from sfumato.evaluation.coverage import prdc
from sfumato.evaluation.diversity import vendi_score
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.inception_score import classifier_score
from sfumato.evaluation.intervals import Interval
from sfumato.evaluation.kid import kid
from sfumato.evaluation.measures import LEAST, MEASURES, Statistics, bounded, check_draws, draws_for, measured, named

RNG = np.random.default_rng(3)
SAMPLES, REAL = (RNG.normal(mean, 1, (50, 6)).astype(np.float32) for mean in (1.5, 1.0))
TOY = extractor()


def expected(samples, real):
    """Each measure from its own function on features."""
    assert TOY.probabilities is not None
    near = prdc(real, samples, 5)
    return {
        "fd": frechet_distance(samples, real),
        "kd": kid(samples, real),
        "mmd": cmmd(samples, real),
        "precision": near.precision,
        "recall": near.recall,
        "density": near.density,
        "coverage": near.coverage,
        "vendi": vendi_score(samples),
        "classifier": classifier_score(TOY.probabilities(samples), 1).value,
    }


def test_every_measure_is_that_of_its_own_function():
    found = measured(Statistics(SAMPLES, REAL, TOY), 50, 40)
    assert {name: number.value for name, number in found.items()} == pytest.approx(expected(SAMPLES, REAL), rel=1e-4)
    assert set(found) == set(MEASURES)
    for interval in found.values():
        assert interval.low < interval.value < interval.high
        assert (interval.n, interval.draws, interval.method, interval.level) == ((50, 50), 40, "half", 0.95)


def test_the_sides_are_not_swapped():
    """Samples that are one real picture: precise, and they recall nothing. The other way round it would be recall."""
    few = np.repeat(REAL[:1], 50, axis=0) + RNG.normal(0, 1e-3, (50, 6)).astype(np.float32)
    part = Statistics(few, REAL, TOY).pairwise(np.arange(50), np.arange(50))
    assert part["precision"] == 1
    assert part["recall"] < 0.1


def test_parts_of_both_sides_are_chosen_each_by_its_own_numbers():
    some, others = np.arange(3, 28), np.arange(20, 50, 2)
    statistics = Statistics(SAMPLES, REAL, TOY)
    found = statistics.whole(some, others) | statistics.pairwise(some, others)
    assert found == pytest.approx(expected(SAMPLES[some], REAL[others]), rel=1e-4)


def test_measures_of_pairs_are_of_the_first_so_many(monkeypatch):
    monkeypatch.setattr(measures, "MOST", 30)
    told = []
    found = measured(Statistics(SAMPLES, REAL, TOY), 50, 40, lambda done, of: told.append((done, of)))
    assert {name: number.n[0] for name, number in found.items() if number.n[0] == 50}.keys() == {
        "fd",
        "vendi",
        "classifier",
    }
    assert found["kd"].value == pytest.approx(kid(SAMPLES[:30], REAL[:30]), rel=1e-4)
    assert told == [(i, 80) for i in range(1, 81)]


def test_without_classes_there_is_no_classifier_score():
    statistics = Statistics(SAMPLES, REAL, extractor(classes=False))
    assert set(measured(statistics, 50, 40)) == set(MEASURES) - {"classifier"}


def test_names_keep_what_everybody_knows_for_its_network():
    assert [named(measure, "Inception-v3") for measure in MEASURES][:3] == ["FID", "KID", "MMD-Inception-v3"]
    assert named("mmd", "CLIP-ViT-L/14@336px") == "CMMD"
    assert (named("fd", "Toy"), named("recall", "Toy"), named("vendi", "Toy")) == ("FD-Toy", "Recall", "Vendi score")


def test_an_interval_holds_nothing_that_cannot_be():
    wide = Interval(0.5, 0.5, -1.0, 2.0, 0.95, "half", 40, 0, (50, 50))
    assert (bounded("recall", wide).low, bounded("recall", wide).high) == (0, 1)
    assert (bounded("fd", wide).low, bounded("fd", wide).high) == (0, 2)
    assert bounded("kd", wide) == wide  # without bias, so below zero half of the time where the laws are equal
    assert bounded("vendi", wide).low == 1


def test_too_few():
    with pytest.raises(InputError, match=f"at least, not {LEAST - 1}: take more"):
        measured(Statistics(SAMPLES, REAL, TOY), LEAST - 1)
    with pytest.raises(InputError, match="the samples' features must be of 20 pictures"):
        Statistics(SAMPLES[:19], REAL, TOY)
    assert (draws_for(2000), draws_for(2001)) == (100, 40)
    assert check_draws(40) == 40
    with pytest.raises(InputError, match="needs 40 draws at least, not 39"):
        check_draws(39)
    least = Statistics(SAMPLES[:LEAST], REAL[:LEAST], TOY)
    assert np.isfinite([number.high for number in measured(least, LEAST, 40).values()]).all()


def test_features_that_are_no_numbers():
    broken = SAMPLES.copy()
    broken[7, 2] = np.nan
    with pytest.raises(InputError, match="the samples' features hold NaN or infinity, first in row 7"):
        Statistics(broken, REAL, TOY)
    with pytest.raises(InputError, match="6 wide, the made features 5"):
        Statistics(SAMPLES[:, :5], REAL, TOY)
