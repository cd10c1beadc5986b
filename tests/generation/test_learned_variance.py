"""Sampling with a learned variance and with self-conditioning, against loops written out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import sfumato as sf
from factory import NETWORK, model, network, spec
from sfumato import solvers
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.generation.guidance import Guidance
from sfumato.generation.model import Model
from sfumato.networks.condition import Condition
from sfumato.seeds import Stream, noise

LINEAR = ScheduleConfig("linear", 1000, zero_terminal_snr=False)
WIDE = replace(NETWORK, labels=(2, 3), out_channels=6)


def learned(kind="interpolated", **changes) -> Model:
    return model(**{"network": WIDE, "schedule": LINEAR, "prediction": "eps", "variance": kind, **changes})


def test_ancestral_steps_are_those_of_improved_ddpm():
    """As Nichol & Dhariwal's code samples, on 5 of 1000 steps, with β and β̃ of the steps that are left."""
    m, steps = learned(), 5
    images = m.sample(
        3, seed=4, solver="ddpm", variance="learned", steps=steps, spacing="trailing", label="food, noto", clip=False
    )
    rows = torch.from_numpy(np.tile(m.spec.labels.resolve("food, noto"), (3, 1)))
    bar = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))[[199, 399, 599, 799, 999]]
    before = np.append(1.0, bar[:-1])
    betas = 1 - bar / before
    tilde = betas * (1 - before) / (1 - bar)
    x = noise([4, 5, 6], (3, 8, 8), Stream.START)
    for row, i in enumerate(reversed(range(steps))):
        with torch.no_grad():
            output = m.network(x, (i + 1) / steps, rows)
        eps, said = output.chunk(2, dim=1)
        x0 = (x - (1 - bar[i]) ** 0.5 * eps) / bar[i] ** 0.5
        a, b = (1 - betas[i]) ** 0.5 * (1 - before[i]) / (1 - bar[i]), before[i] ** 0.5 * betas[i] / (1 - bar[i])
        x = a * x + b * x0
        if i:
            share = (said + 1) / 2
            log_v = share * np.log(betas[i]) + (1 - share) * np.log(tilde[i])
            x = x + torch.exp(log_v / 2) * noise([4, 5, 6], (3, 8, 8), Stream.STEP, row)
    assert np.abs(images.array.astype(int) - m.pictures(x).astype(int)).max() <= 1


def test_the_variance_is_that_of_what_is_gone_towards_however_it_is_guided():
    """At the same x, w = 1 and w = 3 hear the same, and once, in one call for both halves or in two."""
    m = learned()
    heard: dict[str, list[torch.Tensor]] = {}
    rows, x = torch.tensor([[0, 1], [1, 2]]), noise([1, 2], (3, 8, 8))
    for name, scale, together in (("plain", 1.0, True), ("both", 3.0, True), ("apart", 3.0, False)):
        heard[name] = []
        m.denoiser(rows, scale, guidance=Guidance(together=together), hear=heard[name].append)(x, 0.5)
    m.denoiser(rows, 2.0, guidance=Guidance(weak=learned()), hear=heard.setdefault("weak", []).append)(x, 0.5)
    for name in ("both", "apart", "weak"):
        assert len(heard[name]) == 1
        torch.testing.assert_close(heard[name][0], heard["plain"][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("what", ["learned", "self-conditioning"])
def test_alone_as_in_a_batch(what):
    if what == "learned":
        m, how = learned(), {"solver": "ddpm", "variance": "learned"}
    else:
        m, how = remembering_model(), {"solver": "dpmpp-2m"}
    batch = m.sample(4, seed=10, label="food", steps=4, guidance_scale=2.0, **how)  # type: ignore
    for i in range(4):
        alone = m.sample(1, seed=10 + i, label="food", steps=4, guidance_scale=2.0, **how)  # type: ignore
        assert np.abs(alone.array[0].astype(int) - batch.array[i].astype(int)).max() <= 1
    cut = m.sample(4, seed=10, label="food", steps=4, guidance_scale=2.0, batch=3, **how)  # type: ignore
    assert np.abs(cut.array.astype(int) - batch.array.astype(int)).max() <= 1


def test_a_free_variance_is_that_of_its_own_steps():
    short = ScheduleConfig("linear", 4, False, 0.5, 0.99)
    m = learned("free", schedule=short)
    assert m.sample(2, solver="ddpm", variance="learned", steps=4, spacing="trailing").array.shape == (2, 8, 8, 3)
    with pytest.raises(InputError, match="of steps of 1/4"):
        m.sample(2, solver="ddpm", variance="learned", steps=2, spacing="trailing")


def test_what_has_learned_none_is_told():
    with pytest.raises(InputError, match="has learned no variance"):
        model().sample(1, solver="ddpm", variance="learned", steps=2)
    table = solvers.get("ddpm", sf.NoiseSchedule.linear(), steps=3, variance="learned")
    with pytest.raises(InputError, match="from a model that has learned"):
        solvers.solve(lambda x, t: x, torch.zeros(1, 2), table, seeds=[0])
    with pytest.raises(InputError, match="doubles the channels"):
        spec(variance="free")
    with pytest.raises(InputError, match="self-conditioning doubles"):
        spec(self_conditioning=True)


def test_the_table_says_so_and_comes_back():
    table = solvers.get("ddpm", sf.NoiseSchedule.linear(), steps=3, variance="learned")
    small = solvers.get("ddpm", sf.NoiseSchedule.linear(), steps=3)
    assert table.learned
    assert np.array_equal(table.S, small.S)
    assert "scaled by the learned variance" in str(table)
    assert solvers.Table.from_json(table.to_json()) == table
    assert replace(table, learned=False) != table
    assert "learned" not in small.to_json()


def remembering_model() -> Model:
    shape = replace(NETWORK, labels=(2, 3), in_channels=6, out_channels=3)
    description = spec(network=shape, self_conditioning=True)
    return Model(description, network(description))


def test_each_call_sees_the_last_guess_as_it_was_used():
    """Euler by hand: the network sees the clipped x̂0 of the step before, and zeros at first."""
    m, rows = remembering_model(), torch.tensor([[0, -1]] * 2)
    x = m.start([5, 6])
    table = solvers.get("euler", m.diffusion.schedule, steps=4, spacing="trailing")
    images = m.sample(2, seed=5, label="food", solver=table)
    last = torch.zeros_like(x)
    for i in range(4):
        t = float(table.times[i])
        with torch.no_grad():
            output = m.network(x, t, Condition(labels=rows, pictures=last))
        last = m.diffusion.denoised(output, x, t).clamp(-1, 1)
        x = float(table.X[i, 0]) * x + float(table.D[i, 0]) * last
    assert np.abs(images.array.astype(int) - m.pictures(x).astype(int)).max() <= 1
    blind = solvers.solve(m.denoiser(rows), m.start([5, 6]), table)
    assert (blind - x).abs().max() > 1e-3  # without calls it is a function, and sees zeros


def test_every_run_of_a_table_begins_anew():
    m, rows = remembering_model(), torch.tensor([[0, -1]])
    table = solvers.get("heun", m.diffusion.schedule, steps=3)
    denoise = m.denoiser(rows, calls=table.calls)
    first, again = (solvers.solve(denoise, m.start([5]), table) for _ in range(2))
    assert torch.equal(first, again)


def test_both_at_once():
    """Twice the channels in, for the last guess, and twice out, for the variance: the pictures still have three."""
    shape = replace(NETWORK, labels=(2, 3), in_channels=6)
    m = model(network=shape, schedule=LINEAR, prediction="eps", variance="interpolated", self_conditioning=True)
    assert m.spec.shape() == (3, 8, 8)
    assert m.sample(2, solver="ddpm", variance="learned", steps=3, label="food").array.shape == (2, 8, 8, 3)
