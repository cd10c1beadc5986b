import subprocess
import sys

import pytest
import torch

from exact import SCHEDULES, Gaussian
from sfumato import solvers
from sfumato.errors import DivergedError, InputError
from sfumato.seeds import Stream, noise
from sfumato.solvers import Row

GAUSSIAN = Gaussian(SCHEDULES["cosine-zsnr"])


def denoise(x, t):
    """Something that is neither linear nor the same for every pixel."""
    return torch.tanh(GAUSSIAN.denoise(x, t) * torch.linspace(0.5, 2, x[0].numel()).reshape(x.shape[1:]))


@pytest.mark.parametrize("name", solvers.names())
def test_a_picture_alone_is_the_picture_in_a_batch(name):
    seeds = [3, 14, 15, 92, 65]
    table = solvers.get(name, GAUSSIAN.schedule, steps=8)
    batch = solvers.solve(denoise, noise(seeds, (3, 8, 8)), table, seeds=seeds)
    for i, seed in enumerate(seeds):
        alone = solvers.solve(denoise, noise([seed], (3, 8, 8)), table, seeds=[seed])
        torch.testing.assert_close(batch[i], alone[0], rtol=0, atol=1e-6)


def test_the_same_seed_is_the_same_picture_in_another_process():
    code = (
        "from sfumato import solvers; from sfumato.diffusion.schedule import NoiseSchedule; "
        "from sfumato.seeds import noise; "
        "s = NoiseSchedule.cosine(); t = solvers.get('ddpm', s, steps=5); "
        "print(solvers.solve(lambda x, t: x * 0.5, noise([7], (2, 3)), t, seeds=[7]).tolist())"
    )
    run = lambda: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout  # noqa: E731
    table = solvers.get("ddpm", SCHEDULES["cosine"], steps=5)
    here = solvers.solve(lambda x, t: x * 0.5, noise([7], (2, 3)), table, seeds=[7]).tolist()
    assert run().strip() == str(here)


def test_steps_yields_every_step_and_leaves_the_start_alone():
    start = noise([1], (1, 4))
    kept = start.clone()
    table = solvers.get("heun", GAUSSIAN.schedule, steps=4)
    seen = list(solvers.steps(denoise, start, table))
    assert [step.i for step in seen] == list(range(7))
    assert [step.t for step in seen] == table.times[:-1].tolist()
    assert torch.equal(start, kept)
    torch.testing.assert_close(seen[-1].x, seen[-1].denoised)
    assert torch.equal(seen[-1].x, solvers.solve(denoise, start, table))


def test_earlier_steps_are_not_overwritten_by_later_ones():
    table = solvers.get("dpmpp-2m", GAUSSIAN.schedule, steps=5)
    kept = [(step.x, step.x.clone()) for step in solvers.steps(denoise, noise([1], (4,)), table)]
    assert all(torch.equal(now, then) for now, then in kept)


def test_a_row_may_be_fresh_noise_alone():
    table = solvers.Table.from_rows(
        "churn", [Row(1.0, [0], [1]), Row(0.5, [0], [0], 1.0), Row(0.5, [0], [0])], 0.0, 3, "own"
    )
    seen = list(solvers.steps(denoise, noise([1], (4,)), table, seeds=[1]))
    assert torch.equal(seen[1].x, noise([1], (4,), Stream.STEP, 1))
    assert not seen[2].x.any()


def test_a_batch_of_none_is_a_batch_of_none():
    table = solvers.get("ddpm", GAUSSIAN.schedule, steps=3)
    assert solvers.solve(lambda x, t: x, torch.zeros(0, 3), table, seeds=[]).shape == (0, 3)


@pytest.mark.parametrize("seeds", [None, [1], [1, 2, 3]])
def test_a_stochastic_solver_needs_a_seed_for_each_picture(seeds):
    with pytest.raises(InputError, match="2 pictures need a seed each"):
        solvers.solve(denoise, torch.zeros(2, 4), solvers.get("ddpm", GAUSSIAN.schedule, steps=3), seeds=seeds)


def test_nan_is_told_with_step_and_time():
    table = solvers.get("ddim", GAUSSIAN.schedule, steps=5, spacing="trailing")
    broken = lambda x, t: x * float("nan") if t < 0.7 else x  # noqa: E731
    with pytest.raises(DivergedError, match=r"network call 3 of 5 \(t = 0\.60000, solver 'ddim'"):
        solvers.solve(broken, torch.ones(2, 4), table)


def test_gradients_flow_through_the_loop_and_only_when_wanted():
    scale = torch.tensor(0.5, requires_grad=True)
    table = solvers.get("dpmpp-2m", GAUSSIAN.schedule, steps=4)
    solvers.solve(lambda x, t: x * scale, torch.ones(1, 2), table).sum().backward()
    assert scale.grad is not None
    assert scale.grad.isfinite()


def test_an_infinity_is_told_and_large_numbers_are_none():
    table = solvers.get("ddim", GAUSSIAN.schedule, steps=3, spacing="trailing")
    with pytest.raises(DivergedError, match="network call 3 of 3"):
        solvers.solve(lambda x, t: x * float("inf") if t < 0.5 else x, torch.ones(2, 4), table)
    huge = torch.full((2, 4), 3e38)  # each finite, their sum in float32 not
    assert torch.equal(solvers.solve(lambda x, t: huge, torch.ones(2, 4), table), huge)
