"""Whole trajectories against diffusers, which was written by other people from the same papers.

Random schedules, random grids, a network that is neither linear nor near to a true denoiser, float64 throughout: our
numbers are put in the place of the float32 ones that diffusers' schedulers prepare. Where ours differs on purpose, the
difference stands in docs/solvers.md, and is tested here for being the only one.
"""

import importlib

import numpy as np
import pytest
import torch

from exact import doubles
from sfumato import solvers
from sfumato.diffusion.schedule import NoiseSchedule
from sfumato.seeds import Stream, noise_of_steps

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers about itself

STEPS = 7
SEEDS = [3, 4]
MATRIX = doubles(6, 6, seed=1) * 0.4

VP, VE = "x", "x/alpha"  # what diffusers' scheduler keeps


def case(seed, end):
    """A random schedule of 200 steps, and the times of 7 of them, falling to `end`."""
    rng = np.random.default_rng(seed)
    schedule = NoiseSchedule.from_betas(rng.uniform(1e-3, 5e-2, 200))
    index = np.sort(rng.choice(np.arange(2, 198), STEPS - 1, replace=False))[::-1]
    return schedule, np.r_[1.0, (index + 1) / 200, end]


def output(x, t):
    """What the network puts out: ε̂."""
    return torch.tanh(x @ MATRIX.to(x)) * (0.6 + 0.4 * t) + 0.3 * x


def ours(schedule, times, name, **options):
    def denoise(x, t):
        return (x - schedule.sigma(t) * output(x, t)) / schedule.alpha(t)

    table = solvers.get(name, schedule, times=times, **options)
    start = doubles(len(SEEDS), 6)
    return solvers.solve(denoise, start, table, seeds=SEEDS), table


def theirs(monkeypatch, schedule, times, scheduler, keeps, table, repeats=None, **options):
    """The same with a scheduler of diffusers. `repeats`: how often it visits each time."""
    diffusers = pytest.importorskip("diffusers", reason="pip install 'sfumato[test]'")
    made = getattr(diffusers, scheduler)(num_train_timesteps=200, **options)
    bars = np.array([schedule.alpha((i + 1) / 200) ** 2 for i in range(200)])
    made.alphas_cumprod = torch.from_numpy(bars)
    made.set_timesteps(STEPS)
    visits = np.repeat(np.arange(STEPS + 1), repeats or [1] * (STEPS + 1))
    levels = np.array([schedule.sigma(float(t)) / schedule.alpha(float(t)) for t in times])
    if hasattr(made, "sigmas"):
        made.sigmas = torch.from_numpy(levels[visits])
    calls = times[visits][:-1].tolist()
    made.timesteps = torch.tensor([round(t * 200 - 1) for t in calls])
    if "Euler" in scheduler:
        made.timesteps = made.timesteps.double()
    fresh = iter(noise_of_steps(SEEDS, (6,), Stream.STEP, [i for i in range(table.calls) if table.S[i]]).double())
    module = importlib.import_module(type(made).__module__)
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: next(fresh, torch.zeros(len(SEEDS), 6)).double())
    x = doubles(len(SEEDS), 6)
    for i, (t, step) in enumerate(zip(calls, made.timesteps, strict=True)):
        alpha = schedule.alpha(t)
        if keeps == VE and i == 0:
            x = x / alpha
        seen = x * alpha if keeps == VE else x
        x = made.step(output(seen, t), step, x, return_dict=False)[0]
    return x * schedule.alpha(float(times[-1])) if keeps == VE else x


LEAST = 1 / 200
UNIPC = "UniPCMultistepScheduler"
MULTISTEP = "DPMSolverMultistepScheduler"
HEUN = [1, *[2] * (STEPS - 1), 1]
TO_DATA = {"final_sigmas_type": "zero"}
TO_LEAST = {"final_sigmas_type": "sigma_min"}
OFF = {"disable_corrector": list(range(STEPS))}
CASES = [  # ours, options, theirs, what it keeps, options, where both end
    ("ddim", {}, "EulerDiscreteScheduler", VE, {}, 0.0),
    ("ancestral-euler", {}, "EulerAncestralDiscreteScheduler", VE, {}, 0.0),
    ("ddpm", {}, "EulerAncestralDiscreteScheduler", VE, {}, 0.0),
    ("heun", {}, "HeunDiscreteScheduler", VE, {"repeats": HEUN}, 0.0),
    ("lms", {}, "LMSDiscreteScheduler", VE, {}, 0.0),
    *[
        (
            f"dpm-solver-{p}",
            {},
            MULTISTEP,
            VP,
            {"algorithm_type": "dpmsolver", "solver_order": order, **TO_LEAST},
            LEAST,
        )
        for p, order in (("1", 1), ("2m", 2))
    ],
    ("dpmpp-2m", {}, MULTISTEP, VP, TO_DATA, 0.0),
    ("dpmpp-2m", {"lower_order_final": True}, MULTISTEP, VP, TO_LEAST, LEAST),
    ("dpmpp-2m", {}, MULTISTEP, VP, {"lower_order_final": False, **TO_LEAST}, LEAST),
    ("sde-dpmpp-2m", {}, MULTISTEP, VP, {"algorithm_type": "sde-dpmsolver++", **TO_DATA}, 0.0),
    *[
        (f"unipc-{p}", {"variant": bh, **mine}, UNIPC, VP, {"solver_order": p, "solver_type": bh, **more}, end)
        for p in (1, 2, 3)
        for bh in ("bh1", "bh2")
        for end, to in ((0.0, TO_DATA), (LEAST, TO_LEAST))
        for mine, more in (({}, to), ({"corrector": "off"}, {**OFF, **to}))
        if (bh, end) != ("bh1", 0.0)  # there diffusers multiplies infinity by nothing
    ],
    *[  # to σ = 0 diffusers' takes the logarithm of 0
        (f"deis-{p}", {"variable": "log-rho"}, "DEISMultistepScheduler", VP, {"solver_order": p}, LEAST)
        for p in (1, 2, 3)
    ],
]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("name", "mine", "scheduler", "keeps", "options", "end"), CASES)
def test_same_trajectories_as_diffusers(monkeypatch, seed, name, mine, scheduler, keeps, options, end):
    schedule, times = case(seed, end)
    result, table = ours(schedule, times, name, **mine)
    other = theirs(monkeypatch, schedule, times, scheduler, keeps, table, **options)
    assert (result - other).abs().max() < 1e-5 * other.abs().max()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("name", "kind"), [("dpm-solver-2s", "dpmsolver"), ("dpmpp-2s", "dpmsolver++")])
def test_a_singlestep_step_is_diffusers(seed, name, kind):
    """One step with its stage, which lies in the middle in ℓ, as ours always do."""
    diffusers = pytest.importorskip("diffusers", reason="pip install 'sfumato[test]'")
    schedule, _ = case(seed, 0.0)
    stages = schedule.time(np.linspace(schedule.log_snr(0.9), schedule.log_snr(0.4), 3))
    made = diffusers.DPMSolverSinglestepScheduler(200, algorithm_type=kind, final_sigmas_type="sigma_min")
    made.set_timesteps(2)
    levels = [schedule.sigma(float(t)) / schedule.alpha(float(t)) for t in stages]
    made.sigmas, made.order_list = torch.tensor(levels, dtype=torch.float64), [1, 2]
    x = doubles(len(SEEDS), 6)
    result, _ = ours(schedule, stages[[0, -1]], name)
    for t, step in zip(stages[:-1], made.timesteps, strict=True):
        x = made.step(output(x, float(t)), step, x, return_dict=False)[0]
    assert (result - x).abs().max() < 1e-5 * x.abs().max()


INDEXED = [  # ours, options, theirs, options of it, options of its step
    *[("ddim", {"eta": eta}, "DDIMScheduler", {"clip_sample": False}, {"eta": eta}) for eta in (0.0, 0.3, 1.0)],
    ("ddpm", {}, "DDPMScheduler", {"clip_sample": False}, {}),
    ("ddpm", {"variance": "large"}, "DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_large"}, {}),
    ("plms", {"warmup": "heun"}, "PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": True}, {}),
    ("plms", {"warmup": "rk"}, "PNDMScheduler", {"skip_prk_steps": False, "set_alpha_to_one": True}, {}),
    ("lcm", {}, "LCMScheduler", {"clip_sample": False, "timestep_scaling": 1e9}, {}),
]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("name", "mine", "scheduler", "options", "each"), INDEXED)
def test_same_trajectories_as_diffusers_by_index(monkeypatch, seed, name, mine, scheduler, options, each):
    """Those that count steps in place of noise levels: ten even ones of 200, "trailing"."""
    diffusers = pytest.importorskip("diffusers", reason="pip install 'sfumato[test]'")
    schedule, _ = case(seed, 0.0)
    made = getattr(diffusers, scheduler)(200, **options)
    bars = torch.tensor([schedule.alpha((i + 1) / 200) ** 2 for i in range(200)], dtype=torch.float64)
    made.alphas_cumprod, made.final_alpha_cumprod, made.one = (
        bars,
        torch.tensor(1.0).double(),
        torch.tensor(1.0).double(),
    )
    result, table = ours(schedule, np.linspace(1, 0, 11), name, **mine)
    kept = {"timestep_spacing": "trailing"}
    made.register_to_config(**kept)
    more = {"original_inference_steps": 200} if scheduler == "LCMScheduler" else {}
    made.set_timesteps(10, **more)
    if scheduler == "LCMScheduler":
        made.timesteps = torch.arange(199, 0, -20)
    rows = [i for i in range(table.calls) if table.S[i]]
    fresh = iter(noise_of_steps(SEEDS, (6,), Stream.STEP, rows).double())
    module = importlib.import_module(type(made).__module__)
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: next(fresh, torch.zeros(len(SEEDS), 6)).double())
    x = doubles(len(SEEDS), 6)
    for t in made.timesteps:
        x = made.step(output(x, (float(t) + 1) / 200), t, x, return_dict=False, **each)[0]
    assert (result - x).abs().max() < 1e-5 * x.abs().max()
