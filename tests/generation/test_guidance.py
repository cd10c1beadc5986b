"""Guidance of whole samples: which networks are called, what is composed in which order, and what is refused."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from factory import LABELS, NETWORK, classifier, model, network, spec, texts_of
from sfumato.conditioning.labels import LabelSet
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.generation.guidance import Guidance
from sfumato.generation.model import Model
from sfumato.generation.request import Request
from sfumato.guidance.rescale import rescaled
from sfumato.models.classifier import save_classifier_folder
from sfumato.models.folder import save_folder
from sfumato.networks.config import NO_LABEL

ROWS = torch.tensor([[0, 1], [1, -1]])
BARE = LabelSet()


def weaker(**changes):
    """Another model of the same kind: fewer channels."""
    description = spec(name="weak", network=replace(NETWORK, channels=4, head_channels=4, groups=2, labels=(2, 3)))
    description = replace(description, **changes)
    return Model(description, network(description))


def unlabelled():
    return model(labels=BARE, network=NETWORK)


def watched(*networks):
    """Sizes of the batches that each network is called with."""
    calls = [[] for _ in networks]
    for known, net in zip(calls, networks, strict=True):
        net.network.register_forward_pre_hook(lambda module, args, known=known: known.append(len(args[0])))
    return calls


def points():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


# ---- what is called --------------------------------------------------------------------------------------------------


def test_network_calls():
    m, weak, judge = model(), weaker(), classifier()
    calls = watched(m, weak, judge)

    def count(t=0.5, w=2.0, **guidance):
        for known in calls:
            known.clear()
        m.denoiser(ROWS, w, guidance=Guidance(**guidance))(points(), t)
        return tuple(map(tuple, calls))

    assert count(w=1.0) == ((2,), (), ())
    assert count() == ((4,), (), ())
    assert count(negative="flat") == ((4,), (), ())
    assert count(negative="flat", w=1.0, rescale=0.7) == ((2,), (), ())
    assert count(weak=weak) == ((2,), (2,), ())
    assert count(weak=weak, w=1.0) == ((2,), (), ())
    assert count(classifier=judge, w=1.0) == ((2,), (), (2,))
    assert count(classifier=judge) == ((4,), (), (2,))
    assert count(classifier=judge, classifier_scale=0.0) == ((4,), (), ())
    assert count(classifier=judge, t=1.0) == ((4,), (), ())  # zero terminal SNR: nothing to guide by
    for t, inside in ((0.3, True), (0.6, True), (0.2, False), (0.7, False)):
        guided = count(t, weak=weak, classifier=judge, interval=(0.3, 0.6))
        assert guided == (((2,), (2,), (2,)) if inside else ((2,), (), ())), t
    assert count(0.7, interval=(0.3, 0.6)) == ((2,), (), ())


def test_a_scale_of_one_changes_no_bit_whatever_else_is_asked_for():
    m = model()
    plain = m.sample(3, seed=2, label="food", guidance_scale=1).array
    ways: list[dict[str, Any]] = [
        {"negative": "animals", "guidance_rescale": 0.7},
        {"weak": weaker()},
        {"guidance_interval": (0.2, 0.8)},
        {"classifier": classifier(), "classifier_scale": 0.0},
    ]
    for how in ways:
        assert np.array_equal(m.sample(3, seed=2, label="food", guidance_scale=1, **how).array, plain), how


# ---- what is computed ------------------------------------------------------------------------------------------------


def gradient(judge, x, t, rows):
    """∇ log p(y|x_t), written out from the network's output."""
    x = x.clone().requires_grad_()
    total = torch.zeros(())
    for column, logits in enumerate(judge.network(x, t)):
        for i, row in enumerate(rows[:, column].tolist()):
            total = total + (logits[i].log_softmax(0)[row] if row != NO_LABEL else 0)
    return torch.autograd.grad(total, x)[0]


def test_everything_together_is_the_formula():
    """Classifier-free, rescaled, then the classifier, then the limits of the picture."""
    m, judge, x, t, w, s, phi = model(), classifier(), 3 * points(), 0.5, 3.0, 1.5, 0.7
    negative = torch.tensor([[1, 2]] * 2)
    schedule = m.diffusion.schedule
    towards, away = m.denoised(x, t, ROWS), m.denoised(x, t, negative)
    guided = rescaled(away + w * (towards - away), towards, phi)
    expected = guided + s * schedule.sigma(t) ** 2 / schedule.alpha(t) * gradient(judge, x, t, ROWS)
    guidance = Guidance("animals, flat", (0.3, 0.5), phi, classifier=judge, classifier_scale=s)
    found = m.denoiser(ROWS, w, clip=False, guidance=guidance)(x, t)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        m.denoiser(ROWS, w, guidance=guidance)(x, t), expected.clamp(-1, 1), rtol=1e-4, atol=1e-4
    )
    plain = m.denoiser(ROWS, w, clip=False, guidance=guidance)(x, 0.51)
    assert torch.equal(plain, m.denoised(x, 0.51, ROWS))
    limit = expected.abs().flatten(1).quantile(0.95, dim=1).clamp(min=1)[:, None, None, None]
    assert (limit > 1).all()
    dynamic = m.denoiser(ROWS, w, guidance=guidance, dynamic_threshold=95.0)(x, t)
    torch.testing.assert_close(dynamic, expected.clamp(-limit, limit) / limit, rtol=1e-4, atol=1e-4)


def test_autoguidance_is_the_formula_with_one_label_for_both():
    m, weak, x = model(), weaker(), points()
    strong, low = m.denoised(x, 0.4, ROWS), weak.denoised(x, 0.4, ROWS)
    found = m.denoiser(ROWS, 2.5, clip=False, guidance=Guidance(weak=weak))(x, 0.4)
    torch.testing.assert_close(found, low + 2.5 * (strong - low), rtol=1e-4, atol=1e-5)
    assert (found - strong).abs().max() > 0.1


def test_the_classifier_sees_what_the_network_sees_where_variance_explodes():
    edm = ScheduleConfig("edm", 1000, zero_terminal_snr=False)
    m, judge, t = model(schedule=edm), classifier(schedule=edm), 0.6
    sigma = m.diffusion.schedule.sigma(t)
    x = points() * sigma
    found = m.denoiser(ROWS, clip=False, guidance=Guidance(classifier=judge))(x, t)
    size = (1 + sigma**2) ** 0.5
    added = sigma**2 * gradient(judge, x / size, t, ROWS) / size  # the chain rule
    torch.testing.assert_close(found, m.denoised(x, t, ROWS) + added, rtol=1e-4, atol=1e-3)


def test_a_model_without_labels_is_guided_by_those_of_the_classifier():
    m, judge = unlabelled(), classifier()
    make = lambda **how: m.sample(2, seed=1, **how)  # noqa: E731
    plain = make()
    food, animals = (make(classifier=judge, label=name, classifier_scale=5) for name in ("food", "animals"))
    assert len({images.array.tobytes() for images in (plain, food, animals)}) == 3
    assert json.loads(food.metadata[0]["sfumato"])["label"] == ["group=food"]
    drawn = [json.loads(text["sfumato"])["label"] for text in make(classifier=judge).metadata]
    assert drawn == [LABELS.describe(row) for row in LABELS.rows(None, [1, 2]).tolist()]
    with pytest.raises(InputError, match="trained without labels"):
        make(label="food")


def test_pictures_do_not_depend_on_their_batch():
    how = {
        "label": "food",
        "guidance_scale": 2.0,
        "negative": "animals",
        "guidance_rescale": 0.5,
        "classifier": classifier(),
        "dynamic_threshold": 95.0,
    }
    m = model()
    together = m.sample(4, seed=3, **how).array.astype(int)
    alone = m.sample(1, seed=5, **how).array.astype(int)
    assert np.abs(alone[0] - together[2]).max() <= 1


def test_pictures_with_and_without_a_label_may_be_asked_for_together():
    """In whatever batches: one without a label is simply not guided, and says so."""
    m, rows = model(), np.array([[0, 1], [-1, -1], [1, -1]])
    images = m.sample(3, seed=4, label=rows, guidance_scale=3.0, batch=1)
    together = m.sample(3, seed=4, label=rows, guidance_scale=3.0)
    assert np.abs(images.array.astype(int) - together.array.astype(int)).max() <= 1
    assert np.array_equal(images[1], m.sample(1, seed=5, label="none")[0])
    scales = [json.loads(text["sfumato"])["guidance_scale"] for text in together.metadata]
    assert scales == [3.0, 1.0, 3.0]


# ---- what is said ----------------------------------------------------------------------------------------------------


def test_a_saved_picture_says_how_it_was_guided_and_can_be_made_again(tmp_path):
    m, judge = model(), classifier()
    judge.spec = save_classifier_folder(tmp_path / "judge", judge.spec, judge.network.state_dict())
    how = {
        "label": "food, noto",
        "negative": ["animals", "flat"],
        "guidance_scale": 2.5,
        "guidance_interval": (0.1, 0.8),
        "guidance_rescale": 0.3,
        "classifier_scale": 2.0,
        "dynamic_threshold": 97.0,
    }
    images = m.sample(2, seed=8, classifier=tmp_path / "judge", **how)
    path = images.save(tmp_path / "o")[1]
    facts = json.loads(texts_of(path)["sfumato"])
    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    assert facts["classifier"] == {"name": "judge", "weights_sha256": judge.spec.weights.sha256}  # type: ignore[union-attr]
    again = {key: facts[key] for key in ("seed", *how)}
    assert np.abs(m.sample(1, classifier=judge, **again)[0].astype(int) - pixels).max() <= 1
    plain = json.loads(m.sample(1).metadata[0]["sfumato"])
    assert not {"negative", "weak", "classifier", "guidance_interval", "dynamic_threshold"} & set(plain)


def test_autoguidance_in_the_facts_and_from_a_folder(tmp_path):
    weak = weaker()
    stored = save_folder(tmp_path / "weak", weak.spec, weak.network.state_dict(), "raw")
    images = model().sample(2, seed=1, weak=tmp_path / "weak", guidance_scale=2, label="none")
    assert np.array_equal(images.array, model().sample(2, seed=1, weak=weak, guidance_scale=2, label="none").array)
    assert not np.array_equal(images.array, model().sample(2, seed=1, label="none").array)
    facts = json.loads(images.metadata[0]["sfumato"])
    assert facts["weak"] == {"name": "weak", "weights_sha256": stored.weights.sha256}  # type: ignore[union-attr]
    assert facts["guidance_scale"] == 2  # without a label too: autoguidance needs none


def test_in_words():
    guidance = Guidance(("animals", "flat"), (0.1, 0.8), 0.3, classifier=classifier(), classifier_scale=2)
    assert str(guidance) == (
        "away from animals, flat, rescaled by 0.3, classifier judge with scale 2, for times from 0.1 to 0.8"
    )
    assert str(Guidance(weak=weaker())) == "away from the weaker model weak"
    assert str(Guidance()) == ""


# ---- what is refused -------------------------------------------------------------------------------------------------

LINEAR = ScheduleConfig("linear")
OTHER = LabelSet({"group": ("food", "plants"), "style": ("noto", "fluent", "flat")}, (), 0.1)
FEW = LabelSet(LABELS.kinds, (((0, 0), 4),))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"guidance_interval": (0.8, 0.2)}, "a guidance interval is two times"),
        ({"guidance_interval": (0.2, 1.2)}, "a guidance interval is two times"),
        ({"guidance_rescale": 1.2}, "guidance_rescale lies between 0"),
        ({"dynamic_threshold": 0.995}, "a percentile of 99.5"),
        ({"dynamic_threshold": 101.0}, "percentile from 50 to 100"),
        ({"negative": "animls"}, "Did you mean 'animals'"),
        ({"negative": "animals", "weak": weaker(), "guidance_scale": 2}, "not from both"),
        ({"negative": "food", "guidance_scale": 2}, "needs a label other than the negative one, food"),
        ({"negative": "animals"}, "a negative label does nothing at guidance scale 1"),
        ({"label": np.array([[0, 3]])}, "there is no class 3 of label kind 'style'; there are 0 … 2"),
        ({"label": np.array([[-2, 0]])}, "there is no class -2 of label kind 'group'"),
        ({"weak": weaker()}, "a weaker model needs a guidance_scale"),
        ({"weak": weaker(), "guidance_scale": -1}, "guidance_scale is a number from 0 .the weaker model"),
        ({"weak": weaker(), "guidance_scale": float("nan")}, "guidance_scale is a number from 0"),
        ({"weak": weaker(schedule=LINEAR), "guidance_scale": 2}, "weaker model 'weak' has another schedule"),
        (
            {"weak": weaker(size=(4, 4)), "guidance_scale": 2},
            r"another size .*: \(4, 4\), not \(8, 8\)",
        ),
        ({"weak": weaker(labels=OTHER), "guidance_scale": 2}, "the weaker model 'weak' has other labels"),
        ({"weak": "nowhere", "guidance_scale": 2}, "no model 'nowhere'"),
        (
            {"classifier": classifier(schedule=LINEAR)},
            "classifier 'judge' has another schedule than the model",
        ),
        ({"classifier": classifier(labels=OTHER)}, r"tells other labels \(group, style\).*or other classes of them"),
        ({"classifier": classifier(), "label": "none"}, "a classifier guides towards a label; there is none"),
        ({"classifier": classifier(labels=FEW), "label": "animals"}, "'judge' never saw 'animals'"),
        ({"classifier": classifier(), "classifier_scale": -1.0}, "classifier_scale is a number from 0"),
        ({"classifier": classifier(), "classifier_scale": float("nan")}, "classifier_scale is a number from 0"),
        ({"classifier_scale": 2.0}, "classifier_scale 2 is given, but no classifier"),
        ({"classifier": "nowhere"}, "no classifier 'nowhere'"),
    ],
)
def test_bad_requests(how, message):
    with pytest.raises(InputError, match=message):
        model().sample(**{"n": 1, "label": "food", **how})


def test_channels_that_differ_are_told():
    grey = weaker(network=replace(NETWORK, in_channels=1, labels=(2, 3)))
    with pytest.raises(InputError, match="another number of channels than the model 'tiny': 1, not 3"):
        model().denoiser(ROWS, 2.0, guidance=Guidance(weak=grey))


def test_negative_labels_of_every_kind_need_no_label_dropout():
    rigid = model(labels=LabelSet(LABELS.kinds, LABELS.counts, dropout=0.0))
    rigid.sample(1, label="food, noto", guidance_scale=2, negative="animals, flat")
    for negative in ("animals", None):
        with pytest.raises(InputError, match="trained with label dropout"):
            rigid.sample(1, label="food, noto", guidance_scale=2, negative=negative)
    rigid.sample(1, guidance_scale=2, weak=weaker(labels=rigid.spec.labels))  # nor does autoguidance


def test_requests_are_values():
    assert Request() == Request(guidance=Guidance())
    with pytest.raises(InputError, match="percentile"):
        Request(dynamic_threshold=3.0)
