import numpy as np
import pytest
from scipy.stats import entropy

from sfumato.errors import InputError
from sfumato.evaluation.inception_score import classifier_score


def test_a_classifier_that_is_never_sure_scores_one():
    found = classifier_score(np.full((30, 7), 1 / 7), splits=3)
    assert (found.value, found.deviation) == (pytest.approx(1), pytest.approx(0, abs=1e-12))


def test_all_classes_equally_often_and_for_sure_score_their_number():
    assert classifier_score(np.tile(np.eye(7), (4, 1)), splits=2).value == pytest.approx(7)


def test_one_class_for_sure_scores_one():
    assert classifier_score(np.eye(7)[[2] * 10], splits=1).value == pytest.approx(1)


def test_two_classes_that_are_told_apart_with_some_doubt():
    """exp(log 2 - H(a)): the marginal is even, and each row has the entropy H(a)."""
    a = 0.8
    found = classifier_score(np.array([[a, 1 - a], [1 - a, a]] * 5), splits=5)
    assert found.value == pytest.approx(2 * a**a * (1 - a) ** (1 - a))
    assert (found.splits, found.n) == (5, 10)


def test_is_the_mean_divergence_split_by_split():
    p = np.random.default_rng(0).dirichlet(np.full(6, 0.3), 23)
    p[3] = np.eye(6)[1]  # with zeros
    parts = [p[:8], p[8:16], p[16:]]
    scores = np.array([np.exp(entropy(part.T, part.mean(0)[:, None]).mean()) for part in parts])
    found = classifier_score(p, splits=3)
    assert found.value == pytest.approx(np.mean(scores), rel=1e-12)
    assert found.deviation == pytest.approx(np.sqrt(np.mean((scores - np.mean(scores)) ** 2)), rel=1e-9)


def test_splits_are_consecutive():
    by_class = np.repeat(np.eye(2), 5, axis=0)
    assert classifier_score(by_class, splits=2).value == pytest.approx(1)
    assert classifier_score(by_class, splits=1).value == pytest.approx(2)


@pytest.mark.parametrize("bad", [[2.0, 1.0], [1.5, -0.5], [0.4, 0.4]])
def test_what_is_no_probability(bad):
    with pytest.raises(InputError, match=r"row 1 is no list of probabilities .* softmax first"):
        classifier_score(np.array([[0.5, 0.5], bad]), splits=1)


@pytest.mark.parametrize("splits", [0, 4])
def test_bad_splits(splits):
    with pytest.raises(InputError, match="splits must be from 1 to 3"):
        classifier_score(np.eye(3), splits=splits)
