"""Break a formula, and see a test go red: every line of MUTATIONS is a plausible slip that the tests must notice.

Works on a copy of the tree. Run by `make evidence`; exits 1 when a slip goes unnoticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
D, S, T = "diffusion", "solvers", "training"
MUTATIONS = [  # file below src/sfumato, what stands there, the slip, the tests that must notice
    ("diffusion/schedule.py", "np.arange(_positive(steps) + 1) / steps\n        f = np.cos", "np.arange(1, _positive(steps) + 2) / steps\n        f = np.cos", D),
    ("diffusion/schedule.py", "arange(1, self.steps + 1, dtype", "arange(0, self.steps, dtype", D),
    ("diffusion/schedule.py", "share = t * steps - (i + 1)", "share = t * steps - i", D),
    ("diffusion/schedule.py", "knots[0] - 2 * torch.log(t * steps)", "knots[0] - torch.log(t * steps)", D),
    ("diffusion/schedule.py", "root[0] / (root[0] - root[-1])", "1 / (root[0] - root[-1])", D),
    ("diffusion/schedule.py", "np.log1p(-betas)", "-betas", D),
    ("diffusion/forward.py", "-torch.expm1(ratio)", "torch.exp(ratio)", D),
    ("diffusion/forward.py", "-math.expm1(ratio)", "-ratio", D),
    ("diffusion/forward.py", "return alpha_ts * shrink, schedule.alpha(s) * gain", "return alpha_ts * gain, schedule.alpha(s) * shrink", D),
    ("diffusion/forward.py", "sigma_ts**2 * shrink", "sigma_ts**2", D),
    ("diffusion/prediction.py", "(alpha / square) * xt - (sigma / square**0.5)", "(alpha / square) * xt - (sigma / square)", D),
    ("diffusion/prediction.py", "alpha * eps - sigma * x0", "alpha * eps + sigma * x0", D),
    ("diffusion/prediction.py", "torch.exp(log_snr) + (prediction", "torch.exp(-log_snr) + (prediction", D),
    ("diffusion/loss.py", "s = t - 1 / schedule.steps", "s = t - 2 / schedule.steps", D),
    ("diffusion/loss.py", "snr * gamma / (snr + gamma)", "gamma / (snr + gamma)", D),
    ("diffusion/loss.py", "snr + sigma_data**-2", "snr + sigma_data**2", D),
    ("diffusion/reverse.py", "sigma_ts**2 * (schedule", "sigma_ts * (schedule", S),
    ("solvers/first_order.py", "sigma**2 - fresh**2", "sigma**2 - fresh", S),
    ("solvers/first_order.py", "fresh = eta * math.sqrt(variance)", "fresh = math.sqrt(eta * variance)", S),
    ("solvers/first_order.py", "alpha - kept * schedule.alpha(t)", "alpha - kept * alpha", S),
    ("solvers/first_order.py", "schedule.alpha(s) * (1 - ratio)", "schedule.alpha(t) * (1 - ratio)", S),
    ("solvers/second_order.py", "back = 0.0 if order == 1 or i == 0 or math.isinf(h) else h / before / 2", "back = 0.0 if order == 1 or i == 0 or math.isinf(h) else before / h / 2", S),
    ("solvers/second_order.py", "gain * (1 + back), -gain * back", "gain * (1 - back), gain * back", S),
    ("solvers/second_order.py", "alpha_s / alpha_t * (1 + half / before)", "alpha_s / alpha_t * (1 - half / before)", S),
    ("solvers/second_order.py", "half = alpha_s / 2", "half = alpha_s / 3", S),
    ("solvers/spacing.py", "index + 1) / schedule.steps", "index) / schedule.steps", S),
    ("solvers/spacing.py", "return 1 - np.arange(steps) / steps", "return 1 - np.arange(1, steps + 1) / (steps + 1)", S),
    ("solvers/spacing.py", "rho: float = 7.0", "rho: float = 5.0", S),
    ("solvers/loop.py", "value = history[which][k]", "value = history[which][0]", S),
    ("solvers/loop.py", "Stream.STEP, rows[first", "Stream.START, rows[first", S),
    ("seeds.py", '"counter": (0, 0, stream, step)', '"counter": (0, 0, step, stream)', "test_seeds.py"),
    ("seeds.py", '"has_uint32": 0,', '"has_uint32": 1,', "test_seeds.py"),
    ("guidance/classifier_free.py", "torch.lerp(unconditional, conditional, scale)", "torch.lerp(conditional, unconditional, scale)", "guidance"),
    ("networks/layers.py", "self.norm2(h), 1 + scale", "self.norm2(h), scale", "networks"),
    ("networks/unet.py", "torch.where(chosen == NO_LABEL, classes, chosen)", "chosen.clamp(min=0)", "networks"),
    ("evaluation/frechet.py", "- 2 * cross", "- cross", "evaluation"),
    ("training/ema.py", "1 - keep)", "keep)", T),
    ("training/batches.py", "* self.steps // 2**64 + 1)", "* self.steps // 2**64)", T),
    ("training/batches.py", "[(self.seed, n) for n in numbers]", "[(self.seed, n - seen) for n in numbers]", T),
    ("training/loop.py", "batch = batches.at(seen, part)", "batch = batches.at(before, part)", T),
    ("training/loop.py", "losses.sum() / count", "losses.mean()", T),
    ("training/checkpoint.py", "value.copy_(tensors[name])", "value.copy_(tensors[name]) if \"average\" not in name else None", T),
    ("training/progress.py", "self._file.truncate(length - self.missing)", "pass", T),
    ("training/loop.py", "torch.manual_seed(_torch_seed(config.seed, seen, seeds.Stream.LAYERS))", "pass", T),
    ("generation/model.py", "x.add(1).mul(127.5).round()", "x.add(1).mul(127.5)", "generation"),
]  # fmt: skip


def noticed(copy: Path, tests: str) -> bool:
    """Whether any of these tests fails on the copy."""
    env = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", str(copy / "tests" / tests)]
    return subprocess.run(words, cwd=copy, env=env, capture_output=True).returncode == 1


def main() -> int:
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("src", "tests", "pyproject.toml"):
            source = ROOT / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
        for file, old, new, tests in MUTATIONS:
            path = copy / "src" / "sfumato" / file
            text = path.read_text()
            assert text.count(old) >= 1, f"{file} no longer holds {old!r}"
            path.write_text(text.replace(old, new, 1))
            found = noticed(copy, tests)
            path.write_text(text)
            print(f"{'noticed' if found else 'MISSED '}  {file}: {old.strip()}  ->  {new.strip()}", flush=True)
            missed += [] if found else [old]
    print(f"{len(MUTATIONS) - len(missed)} of {len(MUTATIONS)} slips noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
