"""diffusers' schedulers say the same of the noise as ours, step by step."""

import numpy as np
import pytest
import torch

from foreign import library
from sfumato.diffusion.config import ScheduleConfig
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.errors import InputError
from sfumato.models.convert.schedule import schedule_from_betas, schedule_from_diffusers, schedule_to_diffusers

pytestmark = pytest.mark.filterwarnings("ignore")

STABLE = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


def bars(schedule):
    return np.array([schedule.alpha((i + 1) / schedule.steps) ** 2 for i in range(schedule.steps)])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "num_train_timesteps": 400},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    ],
)
def test_has_the_same_alphas(change):
    facts = {**STABLE, **change}
    schedule, prediction = schedule_from_diffusers(facts)
    known = {key: value for key, value in facts.items() if not key.startswith("_") and key != "skip_prk_steps"}
    theirs = library("diffusers").DDIMScheduler(**known)
    np.testing.assert_allclose(bars(schedule.build()), theirs.alphas_cumprod.double(), rtol=2e-5, atol=1e-7)
    assert prediction == ("v" if "prediction_type" in change else "eps")


def test_stable_diffusions_are_the_defaults():
    schedule, prediction = schedule_from_diffusers(STABLE)
    assert schedule == ScheduleConfig("scaled-linear", 1000, False, 0.00085, 0.012)
    assert prediction == "eps"
    assert (schedule.build().log_snr_knots == NoiseSchedule.scaled_linear().log_snr_knots).all()
    assert schedule_from_diffusers({**STABLE, "prediction_type": "sample"})[1] == "x0"


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@pytest.mark.parametrize(
    "schedule",
    [
        ScheduleConfig("scaled-linear", 100, False, 0.001, 0.05),
        ScheduleConfig("linear", 50, False),
        ScheduleConfig("cosine", 50, True),
        ScheduleConfig("sigmoid", 50, True),
    ],
)
def test_there_and_back(schedule, prediction):
    facts = schedule_to_diffusers(schedule, prediction)
    theirs = library("diffusers").DDIMScheduler.from_config(facts)
    np.testing.assert_allclose(bars(schedule.build()), theirs.alphas_cumprod.double(), rtol=2e-4, atol=1e-6)
    if schedule.name == "sigmoid":
        return  # its name is not known there: it goes out as a table
    again, same = schedule_from_diffusers(facts)
    assert same == prediction
    np.testing.assert_allclose(bars(again.build()), bars(schedule.build()), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid'; known here: linear, scaled_linear"),
        ({"beta_schedule": ["linear"]}, "beta_schedule is"),
        ({"beta_schedule": None}, "PNDMScheduler: beta_schedule is None"),
        ({"prediction_type": "flow_prediction"}, "prediction_type is 'flow_prediction'"),
        ({"trained_betas": [0.1]}, "trained_betas"),
        ({"num_train_timesteps": None}, "num_train_timesteps is None"),
        ({"num_train_timesteps": True}, "num_train_timesteps is True"),
        ({"beta_end": "0.012"}, "beta_end is '0.012', but a float"),
        ({"beta_end": 2.0}, "every β must lie strictly between 0 and 1"),
        ({"rescale_betas_zero_snr": "yes"}, "rescale_betas_zero_snr is 'yes'"),
    ],
)
def test_what_is_not_known_is_named(change, message):
    with pytest.raises(InputError, match=message):
        schedule_from_diffusers({**STABLE, **change})


def test_an_exploding_schedule_cannot_be_exported():
    with pytest.raises(InputError, match="'edm' has α = 1"):
        schedule_to_diffusers(ScheduleConfig("edm", 10, False), "v")


@pytest.mark.parametrize(("name", "first", "last"), [("scaled-linear", 0.00085, 0.012), ("linear", 0.0001, 0.02)])
def test_tables_of_a_checkpoint(name, first, last):
    schedule = ScheduleConfig(name, 1000, False, first, last)
    betas = library("diffusers").DDPMScheduler(1000, first, last, name.replace("-", "_")).betas
    assert schedule_from_betas(betas) == schedule


@pytest.mark.parametrize("betas", [torch.tensor([0.1, 0.3, 0.2, 0.4]), torch.tensor(0.1), torch.tensor([0.0, 1.0])])
def test_tables_of_another_shape(betas):
    with pytest.raises(InputError, match="neither linearly nor"):
        schedule_from_betas(betas)


def test_betas_belong_to_some_schedules_only():
    with pytest.raises(InputError, match="'cosine' has no beta_end"):
        ScheduleConfig("cosine", beta_end=0.1).build()
