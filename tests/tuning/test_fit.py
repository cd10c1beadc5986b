"""A table fitted to a model whose trajectories are known."""

import numpy as np
import pytest
import torch

from exact import SCHEDULES, Gaussian, Mixture, doubles
from sfumato import solvers
from sfumato.errors import InputError
from sfumato.tuning.fit import fit_table
from sfumato.tuning.reference import Reference

SCHEDULE = SCHEDULES["cosine-zsnr"]


def reference(truth, x, fine=40):
    """The exact flow in the place of a fine solution."""
    times = solvers.get("ddim", SCHEDULE, fine, "log-snr").times
    states = torch.stack([truth.flow(x, 1.0, float(t)) for t in times])
    pictures = torch.stack([truth.denoise(state, float(t)) for state, t in zip(states, times[:-1], strict=False)])
    change = (pictures[1:] - pictures[:-1]).square().flatten(1).mean(1).sqrt().numpy()
    return Reference(times, states, np.r_[0.0, np.cumsum(change), change.sum()], truth.denoise)


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_on_gaussian_data_every_row_is_exact(steps):
    """There the flow is linear in x, and the weights of x and x̂0 can say it, but for the first row, where x̂0 is a
    constant: two rows are enough."""
    gaussian = Gaussian(SCHEDULE)
    x = doubles(64, 1, 2)
    table = fit_table(reference(gaussian, x), steps)
    assert table.steps == table.calls == steps
    assert table.times[0] == 1
    assert table.times[-1] == 0
    fresh = doubles(64, 1, 2, seed=1)
    result = solvers.solve(gaussian.denoise, fresh, table)
    torch.testing.assert_close(result, gaussian.flow(fresh, 1.0, 0.0), atol=2e-4, rtol=0)


@pytest.mark.parametrize("steps", [3, 4, 6])
def test_beats_every_hand_made_table_on_points_that_it_never_saw(steps):
    mixture = Mixture(SCHEDULE)
    table = fit_table(reference(mixture, doubles(400, 1)), steps)
    x = doubles(400, 1, seed=1)
    truth = mixture.flow(x, 1.0, 0.0)

    def error(table):
        return (solvers.solve(mixture.denoise, x, table) - truth).square().mean().sqrt().item()

    hand_made = [
        error(solvers.get(name, SCHEDULE, steps, spacing))
        for name in solvers.names()
        for spacing in solvers.SPACINGS
        if solvers.SOLVERS[name].order and solvers.SOLVERS[name].calls == "1"
    ]
    assert error(table) < 0.9 * min(hand_made)


def test_each_row_is_the_least_squares_solution_of_its_step():
    """Against numpy's, on what the fitted table itself saw."""
    mixture = Mixture(SCHEDULE)
    given = reference(mixture, doubles(50, 1))
    table = fit_table(given, 4)
    x, seen = given.start, []
    for i, t in enumerate(table.times[:-1].tolist()):
        seen.insert(0, mixture.denoise(x, t))
        columns = torch.stack([x, *seen[:4]]).flatten(1).T.numpy()
        place = int(np.flatnonzero(given.times == table.times[i + 1])[0])
        target = given.states[place].flatten().numpy()
        expected = np.linalg.lstsq(columns, target, rcond=None)[0]
        got = np.r_[table.X[i, 0], table.D[i, : len(seen[:4])]]
        residual, best = np.linalg.norm(columns @ got - target), np.linalg.norm(columns @ expected - target)
        assert residual <= best * (1 + 1e-3) + 1e-6
        x = torch.from_numpy(columns @ got).reshape(x.shape)


def test_tables_of_other_numbers_of_steps_are_somewhere_to_begin():
    mixture = Mixture(SCHEDULE)
    given = reference(mixture, doubles(100, 1))
    first = fit_table(given, 4)
    again = fit_table(given, 4, [first])
    errors = [given.error(solvers.solve(mixture.denoise, given.start, table)) for table in (first, again)]
    assert errors[1] <= errors[0] * (1 + 1e-9)


def test_says_how_the_search_goes():
    told = []
    given = reference(Mixture(SCHEDULE), doubles(20, 1))
    fit_table(given, 3, progress=lambda tried, error: told.append((tried, error)))
    assert [tried for tried, _ in told] == sorted(tried for tried, _ in told)
    assert [error for _, error in told] == sorted((error for _, error in told), reverse=True)


@pytest.mark.parametrize("steps", [0, -1, 21, 2.0, True, "4"])
def test_refuses_numbers_of_steps_that_cannot_be(steps):
    with pytest.raises(InputError, match="1 to 20 steps"):
        fit_table(reference(Mixture(SCHEDULE), doubles(4, 1)), steps)
