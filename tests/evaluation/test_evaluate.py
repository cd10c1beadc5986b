from dataclasses import replace

import numpy as np
import pytest

from measuring import dataset, extractor, saved
from sfumato.data.dataset import Dataset
from sfumato.data.emoji import emoji
from sfumato.errors import InputError
from sfumato.evaluation import samples as samples_module
from sfumato.evaluation.evaluate import evaluate
from sfumato.evaluation.frechet import frechet_distance
from sfumato.evaluation.intervals import interval
from sfumato.evaluation.kid import kid
from sfumato.evaluation.measures import MEASURES
from sfumato.evaluation.real import Real, sides
from sfumato.evaluation.report import Report
from sfumato.generation.request import Request
from tiny import latent_model

TOY = extractor()
N = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model") / "m", dataset())


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Features are kept nowhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFUMATO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def real(data=None, held_out=None):
    data = dataset() if data is None else data
    return Real(data, True, data, held_out, ("The reference is what it was trained on.",))


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "out"
    return evaluate(
        model,
        real(held_out=dataset(30, "kept", 9)),
        TOY,
        out,
        request=Request(3),
        n=N,
        seed=5,
        curve=(3, 2),
        bits=2,
        draws=40,
    )


def test_exactly_n_samples_beside_n_real_pictures(model, found):
    made = TOY.features(model.sample(N, seed=5, steps=3).array)
    chosen = sides(dataset(), N)
    target, other = (TOY.features(dataset().images[rows]) for rows in (chosen.reference, chosen.other))
    numbers = {number.measure: number for number in found.report.numbers}
    assert list(numbers) == list(MEASURES)
    for samples, which in ((made, "value"), (other, "real")):
        assert getattr(numbers["fd"], which).value == pytest.approx(frechet_distance(samples, target))
        assert getattr(numbers["kd"], which).value == pytest.approx(kid(target, samples), rel=1e-4)
    for number in numbers.values():
        assert number.value.n == (N, N)
        assert number.real is not None
        assert number.value.low <= number.value.value <= number.value.high


def test_every_number_says_how_it_came_about(model, found):
    method = found.report.method
    making = method.making
    assert (making.model, making.steps, making.network_calls, making.solver) == ("tiny", 3, 3, "unipc-2")
    assert (making.seeds, making.n, making.labels) == ("5…28", N, "as in the training data")
    assert making.weights_sha256 == model.spec.weights.sha256
    assert (method.reference.data, method.reference.n, method.reference.count) == ("squares", N, 60)
    assert method.reference.training
    assert (method.features.name, method.features.sha256) == ("Toy", TOY.sha256)
    assert all(number.method is method for number in found.report.numbers)


def test_the_curve_is_of_the_same_seeds(model, found):
    two, three = found.report.curve
    assert (two.method.making.steps, three.method.making.steps) == (2, 3)
    assert three == found.report.number("fd")
    target = TOY.features(dataset().images[sides(dataset(), N).reference])
    made = TOY.features(model.sample(N, seed=5, steps=2).array)
    alone = interval(frechet_distance, made, target, level=0.95, draws=40)  # drawn from both sides
    assert (two.value.value, two.value.high) == pytest.approx((alone.value, alone.high))
    assert two.value.low == pytest.approx(max(alone.low, 0))
    assert two.method.making.seeds == "5…28"


def test_losses_bits_and_pictures(found):
    report = found.report
    assert [loss.pictures.data for loss in report.losses] == ["squares", "kept"]
    assert [loss.pictures.training for loss in report.losses] == [True, False]
    assert [loss.pictures.chosen for loss in report.losses] == ["the first 24 of the reference", "drawn by seed 0"]
    assert report.likelihood is not None
    assert (report.likelihood.n, report.likelihood.data) == (2, "kept")  # what training never saw
    assert len(found.samples) == len(found.real) == N
    assert len(found.usual) == len(found.unusual) == 12


def test_usual_samples_are_those_near_real_pictures(found):
    target = TOY.features(dataset().images[sides(dataset(), N).reference])

    def nearest(pictures):
        return np.linalg.norm(TOY.features(pictures)[:, None] - target, axis=2).min(1)

    usual, unusual = nearest(found.usual), nearest(found.unusual)
    assert (np.diff(usual) >= 0).all()
    assert (np.diff(unusual) <= 0).all()
    assert usual.max() <= unusual.min()


def test_its_json_comes_back(found, tmp_path):
    found.report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == found.report


def test_planted_copies_are_found_and_shown(model, tmp_path):
    """The training set holds what the model makes of four of the seeds."""
    planted = model.sample(4, seed=7, steps=2).array
    data = replace(dataset(), images=np.concatenate([dataset().images[:-4], planted]))
    found = evaluate(model, real(data), TOY, tmp_path, request=Request(2), n=N, seed=0, draws=40)
    memorisation = found.report.memorisation
    assert memorisation is not None
    for space, looked in zip(memorisation.spaces, found.looked, strict=True):
        first = space.nearest[:4]
        assert {(pair.seed, pair.training) for pair in first} == {(7, 56), (8, 57), (9, 58), (10, 59)}
        assert [pair.distance for pair in first] == [0, 0, 0, 0]
        assert np.array_equal(looked.samples[:4], looked.training[:4])
        assert space.share.value >= 4 / N
    assert "Nothing of this kind was held out" in memorisation.baseline
    clean = evaluate(model, real(), TOY, tmp_path, request=Request(2), n=N, draws=40).report.memorisation
    assert clean is not None
    assert max(space.share.value for space in clean.spaces) == 0


def test_without_training_pictures_nothing_is_told_of_memorisation(model, tmp_path):
    there = replace(real(), training=None, trained=False, notes=("Not at hand.",))
    report = evaluate(model, there, TOY, tmp_path, request=Request(2), n=30, draws=40).report
    assert report.memorisation is None
    assert report.notes[0] == "Not at hand."


def test_where_no_real_pictures_are_left_their_numbers_are_left_out(model, tmp_path):
    report = evaluate(model, real(), TOY, tmp_path, request=Request(2), n=31, draws=40).report
    assert all(number.real is None for number in report.numbers)
    assert "up to n = 30 there are enough" in report.notes[-1]


def test_few_pictures_for_many_features_are_said_to_be_few(model, tmp_path, caplog):
    wide = extractor(width=40)
    report = evaluate(model, real(), wide, tmp_path, request=Request(2), n=N, draws=40).report
    assert "24 pictures are few for 40 features" in report.notes[-1]
    assert len([record for record in caplog.records if "are few" in record.getMessage()]) == 1


def test_killed_halfway_it_goes_on(model, tmp_path, monkeypatch):
    monkeypatch.setattr(samples_module, "PIECE", 8)
    seen = []

    def stop(stage, done, total):
        seen.append(stage)
        if stage == "samples" and done > 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, real(), TOY, tmp_path / "o", request=Request(2), n=N, draws=40, progress=stop)
    asked, plain = [], type(model).start
    monkeypatch.setattr(
        type(model), "start", lambda self, seeds, *rest: asked.extend(seeds) or plain(self, seeds, *rest)
    )
    again = evaluate(model, real(), TOY, tmp_path / "o", request=Request(2), n=N, draws=40)
    assert asked == list(range(16, 24))
    monkeypatch.undo()
    assert again.report == evaluate(model, real(), TOY, tmp_path / "p", request=Request(2), n=N, draws=40).report


def test_features_that_are_no_numbers(model, tmp_path):
    broken = replace(TOY, features=lambda images: TOY.features(images) * np.float32("nan"))
    with pytest.raises(InputError, match="Toy's features of samples hold NaN"):
        evaluate(model, real(), broken, tmp_path, request=Request(2), n=N, draws=40)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 5}, "20 pictures on each side at least"),
        ({"n": 61}, "61 samples need 61 real pictures"),
        ({"draws": 10}, "needs 40 draws at least"),
        ({"request": Request(size=(16, 16))}, r"pictures of \(8, 8, 3\), the samples are to be \(16, 16, 3\)"),
        ({"curve": (0,)}, "steps must be a whole number"),
        ({"bits": 1}, "n is a whole number from 2"),
        ({"request": Request(solver="none")}, "none"),
    ],
)
def test_mistakes_show_before_anything_is_made(model, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(model, real(), TOY, tmp_path / "o", **options)
    assert not (tmp_path / "o").exists()


def test_a_folder_with_something_else_in_it(model, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"holds something else \(thesis.tex"):
        evaluate(model, real(), TOY, tmp_path, n=N)
    with pytest.raises(InputError, match="the samples are to be"):
        evaluate(model, real(emoji("flags")), TOY, tmp_path / "o", n=N)


def test_a_model_of_latents_has_no_bits_but_all_else(tmp_path):
    data = dataset(side=16)
    latent = latent_model()
    latent.spec = replace(latent.spec, weights=saved(tmp_path / "m").spec.weights)
    report = evaluate(latent, real(data), TOY, tmp_path / "o", request=Request(2), n=N, draws=40).report
    assert len(report.numbers) == len(MEASURES)
    assert report.losses
    with pytest.raises(InputError, match="diffuses latents"):
        evaluate(latent, real(data), TOY, tmp_path / "p", n=N, bits=4)


def test_grey_pictures(tmp_path):
    grey = Dataset("grey", dataset().images[..., :1], np.zeros((60, 0), np.int64))
    from factory import NETWORK, LabelSet

    model = saved(tmp_path / "m", grey, network=replace(NETWORK, in_channels=1), labels=LabelSet())
    found = evaluate(model, real(grey), TOY, tmp_path / "o", request=Request(2), n=N, draws=40)
    assert found.samples.shape == (N, 8, 8, 1)
    assert found.report.method.making.labels == "none"
