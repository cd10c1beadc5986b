"""A run is watched: what goes wrong is told once, in the log too, whatever interrupts it; a run that goes well is left
alone."""

import io
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from factory import NETWORK, QUIET, config, pictures
from sfumato.conditioning.labels import LabelSet
from sfumato.conditioning.text import TextSpec, WordReader
from sfumato.conditioning.words import Vocabulary
from sfumato.data.dataset import Dataset
from sfumato.data.pack import write_pack
from sfumato.diffusion.config import ScheduleConfig
from sfumato.diffusion.process import Diffusion
from sfumato.diffusion.trivial import trivial_error
from sfumato.models.parts import Parts
from sfumato.networks.unet import UNet
from sfumato.training import averages, pitfalls
from sfumato.training import watch as watch_module
from sfumato.training.batches import Batches
from sfumato.training.by_time import BUCKETS, ByTime
from sfumato.training.captions import Captions
from sfumato.training.checkpoint import Window
from sfumato.training.loop import train
from sfumato.training.objective import Objective
from sfumato.training.objective_config import ObjectiveConfig
from sfumato.training.subject import Subject
from sfumato.training.told import Told
from sfumato.training.watch import Watch, spread

CPU = torch.device("cpu")
LINEAR = ScheduleConfig("linear", 1000, zero_terminal_snr=False)
WORDS = ("round", "square")


def dataset(count=40, **changes):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(count)[:, None] % 2
    captions = tuple(WORDS[i % 2] for i in range(count))
    return Dataset("d", images, labels, {"class": ("a", "b")}, **{"captions": captions, **changes})


def watched(network=None, said=None, told=None, text=False, data=None, **changes):
    """A watch of a run that is never run, and the objective that it listens to."""
    cfg = config("", Path("nowhere"), **{"pictures": 100_000, "log_every": 1000, **changes})
    data = data or dataset()
    objective = Objective(cfg, Diffusion(cfg.schedule.build(), cfg.prediction, cfg.objective.sigma_data), CPU)
    captions = Captions(data, cfg.seed, dropout=cfg.label_dropout) if text else None
    spec = TextSpec("words", 4, WORDS) if text else None
    batches = Batches(data, cfg.seed, cfg.label_dropout, captions=captions, offset_noise=cfg.objective.offset_noise)
    subject = Subject(
        data=data,
        network=cfg.network,
        labels=LabelSet() if text else LabelSet.of(data.kinds, data.labels, cfg.label_dropout),
        text=spec,
        reader=WordReader(Vocabulary(WORDS, 4)) if text else None,
        latents=None,
        batches=batches,
        parts=Parts(),
    )
    shape = replace(NETWORK, context=8, vocabulary=3, tokens=4) if text else replace(NETWORK, labels=(2,))
    if cfg.objective.self_conditioning:
        shape = replace(shape, in_channels=6, out_channels=3)
    network = network or random_network(replace(shape, dropout=0.5))
    watch = Watch(cfg, subject, objective, network, network, ([] if said is None else said).append, told or Told())
    return watch, objective


def random_network(shape):
    network, generator = UNet(shape), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=generator))
    return network.train()


def heard_of(watch, objective, count=30):
    generator, batch = torch.Generator().manual_seed(2), watch._subject.batches.at(0, count)
    channels = 6 if objective.variance else 3
    output = torch.randn(count, channels, 8, 8, generator=generator)
    objective(lambda *_: output, batch, watch._subject.told(batch))
    return batch, output[:, :3], objective.settle()


@pytest.mark.parametrize(
    "changes",
    [
        {"weighting": "min-snr"},
        {"prediction": "eps", "schedule": LINEAR},
        {"prediction": "x0", "weighting": "v", "objective": ObjectiveConfig(offset_noise=0.5)},
        {"prediction": "eps", "schedule": LINEAR, "objective": ObjectiveConfig(variance="interpolated")},
        {"prediction": "F", "weighting": "edm", "objective": ObjectiveConfig(times="importance", uncertainty=True)},
        {"weighting": "vlb", "objective": ObjectiveConfig(variance="free")},
    ],
)
def test_the_sums_of_a_step_are_those_of_its_pictures_one_by_one(changes):
    """In float64, bucket by bucket: the plain squared errors, without bound, uncertainty and weights by importance."""
    watch, objective = watched(**changes)
    batch, output, heard = heard_of(watch, objective)
    found = ByTime().plus(watch.by_time(heard).flatten().tolist())
    t, diffusion = objective.times(batch.fraction)[0], objective.diffusion
    alpha, sigma = (f(t)[:, None, None, None] for f in (diffusion.schedule.alpha, diffusion.schedule.sigma))
    xt = alpha * batch.x0 + sigma * batch.noise
    guess = diffusion.denoised(output.double(), xt, t)
    error = (guess - batch.x0).square().flatten(1).mean(1)
    v = (alpha * batch.noise - sigma * batch.x0) / (alpha**2 + sigma**2).sqrt()
    v_guess = (alpha * (xt - alpha * guess) / sigma - sigma * guess) / (alpha**2 + sigma**2).sqrt()
    v_error = (v_guess - v).square().flatten(1).mean(1)
    loss = diffusion.loss(output.double(), batch.x0.double(), t, batch.noise.double(), objective.weighting)
    noise_variance = 1 + objective_config(watch).offset_noise ** 2
    trivial = loss / error * trivial_error(diffusion.schedule, t, watch.variance, noise_variance)
    bucket = np.ceil(t.numpy() * BUCKETS - 1e-9).astype(int) - 1
    for name, values in (("loss", loss), ("trivial", trivial), ("v_error", v_error)):
        expected = np.bincount(bucket, values.numpy(), BUCKETS)
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-3, err_msg=name)
    np.testing.assert_array_equal(found.pictures, np.bincount(bucket, minlength=BUCKETS))


def objective_config(watch):
    return watch._config.objective


def test_micro_batches_add_up():
    watch, objective = watched()
    batch = watch._subject.batches.at(0, 20)
    output = torch.randn(20, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    for part in (slice(0, 7), slice(7, 20)):
        half = batch._replace(x0=batch.x0[part], noise=batch.noise[part], fraction=batch.fraction[part])
        objective(lambda *_, part=part: output[part], half, watch._subject.told(batch))
    parts = watch.by_time(objective.settle())
    assert objective.settle() == []
    objective(lambda *_: output, batch, watch._subject.told(batch))
    torch.testing.assert_close(parts, watch.by_time(objective.settle()))


def test_the_variance_is_that_of_a_value_around_the_mean_picture():
    data = dataset()
    x = data.images.astype(float) / 127.5 - 1
    assert watched(data=data)[0].variance == pytest.approx(x.var(0, ddof=1).mean(), rel=1e-5)
    assert spread(torch.ones(1, 3, 2, 2)) == 0


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("self_conditioning", [False, True])
def test_what_labels_change_is_seen_and_leaves_the_network_as_it_was(text, self_conditioning):
    watch, _ = watched(text=text, objective=ObjectiveConfig(self_conditioning=self_conditioning))
    effect = watch.effect_of_labels()
    assert 1e-3 < effect < 100
    assert watch.effect_of_labels() == effect  # no dropout in it
    assert watch._network.training
    with torch.no_grad():
        for name, p in watch._network.named_parameters():
            if name.startswith("labels") or "attention" in name or "text" in name:
                p.zero_()
    assert watch.effect_of_labels() == 0


def test_the_effect_is_measured_in_standard_deviations_of_the_data():
    """A network that says of a picture what its label says: x̂0 = 0.1 where it is shown, else 0."""

    class Told(torch.nn.Module):
        def forward(self, x, t, condition):
            shown = (condition.labels[:, 0] >= 0).float()
            return 0.1 * shown[:, None, None, None].expand(-1, *x.shape[1:])

    watch, _ = watched(Told(), prediction="x0")
    assert watch.effect_of_labels() == pytest.approx(0.1 / watch.variance**0.5, rel=1e-5)


def window(count=2000, loss=0.5, trivial=0.4):
    values = [count, *[0] * 9, count * loss, *[0] * 9, count * trivial, *[0] * 9, count, *[0] * 9]
    return Window().with_step(loss, 1.0, count, {}, values)


def test_each_is_told_once_with_the_line_of_its_time():
    said: list[str] = []
    watch, _ = watched(said=said, ema_halflife=90_000, ema_rampup=1.0, pictures=100_000)
    watch.start()
    watch.start()
    assert len(said) == 2  # the average, and 2,500 passes over 40 pictures
    assert all(text.startswith("WARNING: ") for text in said)
    assert set(watch.told.fresh) == {"average", "pictures"}
    assert set(watch.line(1000, window(1000))["warnings"]) == {"average", "pictures"}
    assert watch.line(3000, window())["by_time"]["loss"][0] == 0.5  # too early to say more
    assert "warnings" not in watch.line(5000, window())
    line = watch.line(9000, window())
    assert list(line["warnings"]) == ["loss"]
    assert "0.5, above the 0.4" in line["warnings"]["loss"]
    assert "warnings" not in watch.line(11_000, window())
    watch.samples(12_000, np.full((25, 8, 8, 3), 7, np.uint8))
    assert list(watch.told.fresh) == ["samples"]
    assert list(watch.line(13_000, window(1000))["warnings"]) == ["samples"]
    assert watch.told == Told(("average", "pictures", "loss", "samples"))
    assert len(said) == 4


def test_labels_are_looked_at_four_times_wherever_a_sitting_began():
    class Deaf(torch.nn.Module):
        calls = 0

        def forward(self, x, t, condition):
            Deaf.calls += 1
            return torch.zeros_like(x)

    watch, _ = watched(Deaf())
    for seen in range(2000, 24_001, 2000):
        assert "labels" not in watch.line(seen, window(loss=0.1)).get("warnings", {})
    assert Deaf.calls == 0
    assert "labels" in watch.line(26_000, window(loss=0.1))["warnings"]
    assert Deaf.calls == 2
    later, _ = watched(Deaf(), told=Told(("labels",)))
    later.line(50_000, window(loss=0.1))
    assert Deaf.calls == 2
    new, _ = watched(Deaf())  # a sitting that begins between the quarter and the line
    assert "labels" in new.line(26_000, window(loss=0.1))["warnings"]


def test_what_goes_well_is_left_alone():
    said: list[str] = []
    watch, _ = watched(said=said, data=dataset(4000))
    watch.start()
    rng = np.random.default_rng(0)
    for seen in range(2000, 100_001, 2000):
        watch.line(seen, window(loss=0.3))
        watch.samples(seen, rng.integers(0, 256, (25, 8, 8, 3), dtype=np.uint8))
    assert said == []


def test_without_labels_there_is_nothing_to_ignore():
    watch, _ = watched(data=replace(dataset(), labels=np.zeros((40, 0), np.int64), kinds={}), label_dropout=1.0)
    watch.start()
    watch.line(26_000, window(loss=0.1))
    assert not watch.told.of("labels")


# ---- real runs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def _soon(monkeypatch):
    """Judged early, so that the runs can be short."""
    monkeypatch.setattr(pitfalls, "settled_in", lambda config: config.pictures // 2)
    monkeypatch.setattr(watch_module, "FEWEST", 50)


def lines(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("_soon")
def test_a_run_that_learns_nothing_is_told_so(tmp_path, data):
    """A learning rate that moves no weight: above the trivial loss, deaf to labels; all of it in the log and on the
    screen, with what to do."""
    said = io.StringIO()
    quick = {"pictures": 1216, "batch": 16, "log_every": 160, "checkpoint_every": 10_000}
    quick |= {"ema_halflife": 1000, "ema_rampup": 1.0}
    train(config(data, tmp_path / "run", lr=1e-12, **quick), Console(file=said, width=10_000))
    warnings = {name: text for line in lines(tmp_path / "run") for name, text in line.get("warnings", {}).items()}
    assert set(warnings) == {"loss", "labels", "average"}
    for text in warnings.values():
        assert said.getvalue().count(f"WARNING: {text}") == 1


@pytest.mark.usefixtures("_soon")
def test_a_run_that_learns_is_left_alone(tmp_path):
    """The same network on enough pictures of two colours, by label."""
    rng = np.random.default_rng(0)
    images, labels = np.zeros((256, 8, 8, 3), np.uint8), np.arange(256)[:, None] % 2
    for i in range(256):
        images[i, ..., 2 * (i % 2)] = rng.integers(60, 255)
    write_pack(Dataset("two", images, labels, {"class": ("red", "blue")}), tmp_path / "two.safetensors")
    out = tmp_path / "run"
    quick = {"pictures": 3200, "batch": 16, "log_every": 800, "checkpoint_every": 8000, "sample_every": 1600}
    train(config(tmp_path / "two.safetensors", out, lr=4e-3, ema_halflife=100, **quick), QUIET)
    assert not any("warnings" in line for line in lines(out))
    last = lines(out)[-1]["by_time"]
    assert sum(last["pictures"]) == 800
    assert all(loss < trivial for loss, trivial in zip(last["loss"], last["trivial"], strict=True))
    weighted = sum(n * loss for n, loss in zip(last["pictures"], last["loss"], strict=True)) / 800
    assert weighted == pytest.approx(lines(out)[-1]["loss"], rel=1e-4)


@pytest.mark.usefixtures("_soon")
def test_interrupted_anywhere_it_says_the_same_once(tmp_path, data, monkeypatch):
    """Stopped after the first step, with warnings that the log does not hold yet; and in the middle."""
    slow = {"lr": 1e-12, "pictures": 1216, "batch": 16, "log_every": 160, "checkpoint_every": 10_000}
    slow |= {"ema_halflife": 1000, "ema_rampup": 1.0}
    whole, stopped, said = tmp_path / "whole", tmp_path / "stopped", io.StringIO()
    train(config(data, whole, **slow), QUIET)
    honest, steps = averages.Averages.update, [0]

    def interrupting(*args):
        steps[0] += 1
        if steps[0] in (1, 54):
            os.kill(os.getpid(), signal.SIGINT)
        return honest(*args)

    monkeypatch.setattr(averages.Averages, "update", interrupting)
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            train(config(data, stopped, resume=resume, **slow), Console(file=said, width=10_000))
    train(config(data, stopped, resume=True, **slow), Console(file=said, width=10_000))
    timeless = [
        [{name: value for name, value in line.items() if name not in ("rate", "memory_mb")} for line in lines(out)]
        for out in (whole, stopped)
    ]
    assert timeless[0] == timeless[1]
    assert said.getvalue().count("WARNING: ") == 3
