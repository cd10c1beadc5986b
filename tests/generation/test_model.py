import numpy as np
import pytest
import torch

from factory import LABELS, model
from sfumato import solvers
from sfumato.conditioning.labels import LabelSet
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import DivergedError, InputError
from sfumato.generation.model import Request, seeds_from, to_uint8
from sfumato.generation.strip import steps_strip


@pytest.mark.parametrize("solver", solvers.names())
def test_a_picture_alone_is_the_picture_in_any_batch(solver):
    m = model()
    together = m.sample(6, seed=10, solver=solver, label="food", batch=4).array.astype(int)
    for i in (0, 3, 5):
        alone = m.sample(1, seed=10 + i, solver=solver, label="food").array.astype(int)
        assert np.abs(alone[0] - together[i]).max() <= 1
    listed = m.sample(2, seed=[15, 10], solver=solver, label="food").array.astype(int)
    assert np.abs(listed - together[[5, 0]]).max() <= 1
    assert len(np.unique(together.reshape(6, -1), axis=0)) == 6


def test_guided_batches_are_the_same_pictures_too():
    m = model()
    together = m.sample(4, seed=3, guidance_scale=3.0).array.astype(int)
    alone = m.sample(1, seed=5, guidance_scale=3.0).array.astype(int)
    assert np.abs(alone[0] - together[2]).max() <= 1


def test_labels_and_guidance_change_the_picture():
    m = model()
    make = lambda **how: m.sample(1, seed=1, **how).array  # noqa: E731
    food = make(label="food")
    assert np.array_equal(food, make(label=["food"]))
    assert np.array_equal(food, make(label=np.array([[0, -1]])))
    for other in (
        make(label="animals"),
        make(label="food, noto"),
        make(label="none"),
        make(label="food", guidance_scale=4),
    ):
        assert not np.array_equal(food, other)


def test_without_a_label_it_draws_them_as_the_data_has_them():
    rows = model().label_rows(None, range(4000))
    assert set(map(tuple, rows.tolist())) == {(0, 0), (1, 2)}
    assert (rows[:, 0] == 0).mean() == pytest.approx(0.75, abs=0.03)
    assert np.array_equal(rows[:5], model().label_rows(None, range(5)))


def test_other_sizes():
    assert model().sample(1, size=(4, 12)).array.shape == (1, 4, 12, 3)
    with pytest.raises(InputError, match="multiple of 2"):
        model().sample(1, size=(5, 12))


def test_noise_starts_with_the_schedules_spread():
    vp, ve = model(), model(schedule=ScheduleConfig("edm", 1000, zero_terminal_snr=False))
    torch.testing.assert_close(ve.start([1]), vp.start([1]) * 80)


def test_clipping_keeps_every_x0_in_range():
    m = model()
    for clip in (True, False):
        request = Request(steps=3, clip=clip)
        largest = max(step.denoised.abs().max().item() for step in m.trajectory([1, 2], None, request))
        assert (largest <= 1) == clip


def test_rounds_to_the_nearest_level():
    x = torch.tensor([-2.0, -1.0, -1 + 0.6 / 127.5, 0.0, 1.0, 3.0]).reshape(1, 1, 1, 6)
    assert to_uint8(x).flatten().tolist() == [0, 0, 1, 128, 255, 255]


def test_progress_and_own_tables():
    done = []
    m = model()
    table = solvers.get("ddim", m.diffusion.schedule, times=[1.0, 0.4, 0.0])
    m.sample(5, solver=table, batch=2, progress=done.append)
    assert done == [2, 4, 5]


def test_the_strip_goes_from_noise_to_the_result():
    m = model()
    sheet = steps_strip(m, [4, 5], "food", columns=3)
    assert sheet.shape == (2 * 10 + 2, 3 * 10 + 2, 3)
    last = m.sample(2, seed=4, label="food")
    assert np.array_equal(sheet[2:10, 22:30], last[0])
    assert np.array_equal(sheet[2:10, 2:10], to_uint8(m.start([4]).clamp(-1, 1))[0])


def test_nan_weights_are_told():
    m = model()
    m.network.get_parameter("leave.2.bias").fill_(float("nan"))
    with pytest.raises(DivergedError, match="network call 1 of 4"):
        m.sample(1)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"n": 0}, "number of pictures"),
        ({"n": 2, "seed": [1]}, "1 seeds for 2 pictures"),
        ({"seed": -1}, "a seed is"),
        ({"solver": "dpm"}, "no solver 'dpm'"),
        ({"steps": 0}, "steps must be"),
        ({"label": "fod"}, "Did you mean 'food'"),
        ({"label": "food, animals"}, "two labels of kind 'group'"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"eta": 0.5}, "no option 'eta'"),
        ({"label": np.zeros((3, 2), np.int64)}, "labels must have the shape"),
        ({"label": np.array([[7, 0]])}, "no class 7"),
    ],
)
def test_bad_requests(how, message):
    with pytest.raises(InputError, match=message):
        model().sample(**{"n": 1, **how})


def test_guidance_needs_label_dropout():
    rigid = model(labels=LabelSet(LABELS.kinds, LABELS.counts, dropout=0.0))
    with pytest.raises(InputError, match="trained with label dropout"):
        rigid.sample(1, guidance_scale=2)
    rigid.sample(1)


def test_seeds():
    assert seeds_from(3, 5) == [5, 6, 7]
    assert seeds_from(2, [9, 1]) == [9, 1]
