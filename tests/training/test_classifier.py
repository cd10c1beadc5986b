import io
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import sfumato as sf
from factory import LABELS, NETWORK, QUIET, model, network, pictures, spec
from sfumato.conditioning.labels import LabelSet
from sfumato.data.dataset import Dataset
from sfumato.data.pack import write_pack
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import DivergedError, InputError
from sfumato.models.folder import save_folder
from sfumato.networks.classifier import NoisyClassifier
from sfumato.scaling import to_unit
from sfumato.seeds import Stream, noise, torch_seed
from sfumato.training import classifier, held_out
from sfumato.training.batches import Batches
from sfumato.training.classifier_config import ClassifierConfig
from sfumato.training.held_out import accuracy, chance, split
from sfumato.training.times import on_steps

BARE = spec(labels=LabelSet(), network=NETWORK)


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """A model without labels, to be guided."""
    folder = tmp_path_factory.mktemp("model") / "m"
    save_folder(folder, BARE, network(BARE).state_dict(), "average")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"), count=40)


def config(data, guided, out, **changes):
    small = {
        "pictures": 24,
        "batch": 8,
        "held_out": 0.25,
        "network": replace(NETWORK, dropout=0.2),
        "warmup": 8,
        "ema_halflife": 16,
        "log_every": 8,
        "device": "cpu",
        "threads": 1,
    }
    return ClassifierConfig(data=str(data), out=out, model=str(guided), **{**small, **changes})


def test_learns_to_tell_red_from_blue_but_not_in_pure_noise(tmp_path, data, guided):
    out = tmp_path / "c"
    found = classifier.train_classifier(
        config(data, guided, out, pictures=2000, batch=16, lr=4e-3, ema_halflife=400, log_every=2000), QUIET
    )
    assert [level.t for level in found.accuracy] == list(held_out.LEVELS)
    assert found.accuracy[0].share["class"] >= 0.9
    assert 0.2 <= found.accuracy[-1].share["class"] <= 0.8  # a guess: 10 pictures
    assert found.accuracy[-1].snr == 0
    assert found.held_out == 10
    again = sf.load_classifier(out)
    assert again.spec == found
    assert again.spec.schedule == BARE.schedule
    assert found.data["count"] == 30
    # and what it has learned guides a model that knows no labels
    m = model(labels=LabelSet(), network=NETWORK)
    steered = {
        name: m.sample(6, classifier=again, label=name, classifier_scale=20, steps=10)
        .array.astype(float)
        .mean((0, 1, 2))
        for name in ("red", "blue")
    }
    assert (steered["red"] - steered["blue"])[0] > 10
    assert (steered["blue"] - steered["red"])[2] > 10


def test_one_step_is_adamw_on_the_stated_loss(tmp_path, data, guided):
    """The first step, done again with torch's plain AdamW and the loss written out."""
    cfg = config(data, guided, tmp_path / "c", pictures=8, warmup=16, network=NETWORK, ema_halflife=1)
    said = Console(file=io.StringIO(), width=200)
    classifier.train_classifier(replace(cfg, ema_rampup=1e-9), said)  # no average: the weights themselves
    kept, _ = split(sf.open_data(data, size=8), 0.25, 0)
    torch.manual_seed(torch_seed(0, 0, Stream.WEIGHTS))
    net = NoisyClassifier(replace(NETWORK, labels=(2,))).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3 * 8 / 16, betas=(0.9, 0.99), weight_decay=0.05)
    batch, schedule = Batches(kept, 0).at(0, 8), BARE.schedule.build()
    t = on_steps(batch.fraction, 1000)
    alpha, sigma = (s(t).float()[:, None, None, None] for s in (schedule.alpha, schedule.sigma))
    logits = net(alpha * batch.x0 + sigma * batch.noise, t)[0]
    chosen = logits.softmax(1)[torch.arange(8), batch.labels[:, 0]]
    loss = -chosen.log().mean()
    assert f"loss {loss.item():.4f}" in said.file.getvalue()  # type: ignore[attr-defined]
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    stored = load_file(tmp_path / "c" / "weights.safetensors")
    for name, value in net.state_dict().items():
        if name != "pool.key_value.bias":  # of the keys it cancels in the softmax: AdamW steps along rounding errors
            torch.testing.assert_close(stored[name], value, rtol=1e-4, atol=1e-6)


def test_equal_configs_end_in_equal_weights_and_another_seed_does_not(tmp_path, data, guided):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.manual_seed(len(name) + seed)  # the global state has no part in it
        classifier.train_classifier(config(data, guided, tmp_path / name, seed=seed), QUIET)
    a, b, c = ((tmp_path / name / "weights.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def labelled(count=40):
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    labels = np.stack([np.arange(count) % 3 - 1, np.full(count, -1)], 1).astype(np.int64)  # -1, 0, 1, …; none at all
    return Dataset("d", images, labels, {"a": ("x", "y"), "b": ("p",)})


def test_the_split_is_of_labelled_pictures_disjoint_and_a_function_of_the_seed():
    kept, held = split(labelled(), 0.25, 5)
    parts = [set(part.images[:, 0, 0, 0].tolist()) for part in (kept, held)]
    assert parts[0] | parts[1] == {i for i in range(40) if i % 3}
    assert not parts[0] & parts[1]
    assert (len(kept), len(held)) == (20, 6)
    assert np.array_equal(split(labelled(), 0.25, 5)[1].images, held.images)
    assert not np.array_equal(split(labelled(), 0.25, 6)[1].images, held.images)
    for share in (0.01, 0.99):
        with pytest.raises(InputError, match=r"26 labelled pictures.*Both need at least 1"):
            split(labelled(), share, 0)


class Reads(torch.nn.Module):
    """Says class 1 where the first pixel is above -0.9; knows nothing of the second kind."""

    def forward(self, x, t):
        bright = (x[:, 0, 0, 0] > -0.9).float()
        return [torch.stack([1 - bright, bright], 1), torch.zeros(len(x), 1)]


def test_accuracy_counts_what_is_right_kind_by_kind():
    """Without noise all but known answers; the pictures' values are 0 … 39 of 255, so -1 … -0.69."""
    held = labelled()
    schedule = sf.NoiseSchedule(np.array([600.0, 599.0, -600.0]))  # no noise up to t = 2/3, then nothing else
    found = accuracy(Reads(), held, schedule, 0, torch.device("cpu"), batch=7)  # type: ignore[arg-type]
    named = [i for i in range(40) if i % 3]
    right = sum((i / 127.5 - 1 > -0.9) == (i % 3 == 2) for i in named) / len(named)
    assert [level.t for level in found] == [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    for level in found[:3]:
        assert level.share == {"a": pytest.approx(right)}  # no picture has a label of kind b
    drawn = noise([(0, i) for i in range(40)], (1, 2, 2), Stream.HELD_OUT)
    guess = sum((drawn[i, 0, 0, 0].item() > -0.9) == (i % 3 == 2) for i in named) / len(named)
    assert found[-1].share == {"a": pytest.approx(guess)}


def test_chance_is_the_most_frequent_class_of_what_was_learned():
    kept = labelled().subset([1, 2, 5, 8])  # classes 0, 1, 1, 1
    held = labelled().subset([4, 7, 10, 11, 3])  # classes 0, 0, 0, 1, none
    assert chance(kept, held) == {"a": 0.25}


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_pictures(tmp_path, data, guided, monkeypatch):
    real = classifier.label_log_probability
    calls = []

    def failing(logits, labels):
        calls.append(1)
        return real(logits, labels) * (float("nan") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(classifier, "label_log_probability", failing)
    with pytest.raises(DivergedError, match="the step after 8 pictures: loss nan") as caught:
        classifier.train_classifier(config(data, guided, tmp_path / "c"), QUIET)
    kept, _ = split(sf.open_data(data, size=8), 0.25, 0)
    assert ", ".join(map(str, Batches(kept, 0).at(8, 8).pictures)) in str(caught.value)
    assert not (tmp_path / "c").exists()


def test_ctrl_c_saves_what_there_is(tmp_path, data, guided, monkeypatch):
    real = classifier.label_log_probability
    calls = []

    def interrupting(logits, labels):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(logits, labels)

    monkeypatch.setattr(classifier, "label_log_probability", interrupting)
    with pytest.raises(KeyboardInterrupt):
        classifier.train_classifier(config(data, guided, tmp_path / "c"), QUIET)
    assert sf.load_classifier(tmp_path / "c").spec.training["pictures"] == 16


def test_what_is_there_is_not_replaced(tmp_path, data, guided):
    classifier.train_classifier(config(data, guided, tmp_path / "c", pictures=8), QUIET)
    before = (tmp_path / "c" / "classifier.json").read_bytes()
    for out, message in ((tmp_path / "c", "already holds a classifier"), (guided, "which is no part of a classifier")):
        with pytest.raises(InputError, match=message):
            classifier.train_classifier(config(data, guided, out), QUIET)
    assert (tmp_path / "c" / "classifier.json").read_bytes() == before


def test_takes_size_channels_and_schedule_of_the_model(tmp_path, data):
    linear = ScheduleConfig("linear", 500)
    grey = replace(BARE, network=replace(NETWORK, in_channels=1), size=(4, 4), schedule=linear)
    save_folder(tmp_path / "m", grey, network(grey).state_dict(), "average")
    found = classifier.train_classifier(config(data, tmp_path / "m", tmp_path / "c", pictures=8), QUIET)
    assert (found.size, found.network.in_channels, found.schedule) == ((4, 4), 1, linear)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "emojy"}, "Did you mean 'emoji'"),
        ({"model": "emojy"}, "no model 'emojy'"),
        ({"model": "emoji"}, "the model 'emoji' was trained with group: smileys"),
        ({"device": "warp"}, "device 'warp'"),
        ({"held_out": 0.001}, "Both need at least 1"),
        ({"held_out": 1.0}, "held_out is a share between 0 and 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"cooldown": 1.5}, "cooldown is a share"),
        ({"warmup": -1}, "warmup cannot be negative"),
        ({"seed": -1}, "a seed is a whole number"),
        ({"network": replace(NETWORK, labels=(5,))}, "network.labels is"),
        ({"network": replace(NETWORK, multipliers=(1, 1, 1, 1, 1))}, "multiple of 16"),
    ],
)
def test_bad_configs(tmp_path, data, guided, changes, message):
    how = {"data": data, "guided": changes.get("model", guided), **{k: v for k, v in changes.items() if k != "model"}}
    with pytest.raises(InputError, match=message):
        classifier.train_classifier(config(out=tmp_path / "c", **how), QUIET)
    assert not (tmp_path / "c").exists()


def test_pictures_without_labels_and_with_other_labels_are_told(tmp_path, guided):
    images = np.zeros((6, 8, 8, 3), np.uint8)
    write_pack(Dataset("bare", images, np.zeros((6, 0), np.int64)), tmp_path / "bare.safetensors")
    with pytest.raises(InputError, match="bare has no labels to learn"):
        classifier.train_classifier(config(tmp_path / "bare.safetensors", guided, tmp_path / "c"), QUIET)
    full = spec()
    save_folder(tmp_path / "m", full, network(full).state_dict(), "average")
    kinds = {"style": ("noto", "fluent", "flat"), "group": ("food", "animals")}  # the same, in another order
    assert set(kinds) == set(LABELS.kinds)
    write_pack(Dataset("turned", images, np.zeros((6, 2), np.int64), kinds), tmp_path / "turned.safetensors")
    with pytest.raises(InputError, match=r"turned has the labels style: noto.*A classifier needs the same"):
        classifier.train_classifier(config(tmp_path / "turned.safetensors", tmp_path / "m", tmp_path / "c"), QUIET)


def test_the_folder_says_what_was_done(tmp_path, data, guided):
    classifier.train_classifier(config(data, guided, tmp_path / "c"), QUIET)
    facts = json.loads((tmp_path / "c" / "classifier.json").read_text())
    assert facts["training"] == {
        "pictures": 24,
        "batch": 8,
        "seed": 0,
        "learning_rate": 1e-3,
        "model": "tiny",
        "sfumato": sf.__version__,
        "torch": torch.__version__,
    }
    assert len(facts["accuracy"]) == len(held_out.LEVELS)
    kept, held = split(sf.open_data(data, size=8), 0.25, 0)
    assert facts["data"]["fingerprint"] == kept.fingerprint
    assert to_unit(held.images).shape == (10, 3, 8, 8)
