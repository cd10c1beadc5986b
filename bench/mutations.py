"""Break a formula, and see a test go red: every line of MUTATIONS is a plausible slip that the tests must notice.

Works on a copy of the tree; `python bench/mutations.py solvers/` takes only the files that begin so. Run by `make evidence`; exits 1 when a slip goes unnoticed.
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
N, L, P = (f"solvers/test_{name}.py" for name in ("order", "solvers", "parity"))
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
    ("solvers/first_order.py", "sigma**2 - fresh**2", "sigma**2 - fresh", L),
    ("solvers/first_order.py", "fresh = eta * math.sqrt(", "fresh = math.sqrt(eta * ", L),
    ("solvers/first_order.py", "alpha - kept * schedule.alpha(t)", "alpha - kept * alpha", L),
    ("solvers/first_order.py", "-math.expm1(p.ell - q.ell) if q.alpha", "-math.expm1(q.ell - p.ell) if q.alpha", L),
    ("solvers/first_order.py", "up = eta * math.sqrt(-math.expm1(2 * (p.ell - q.ell)))", "up = eta * math.sqrt(-math.expm1(p.ell - q.ell))", L),
    ("solvers/singlestep.py", "half = q.alpha * (q.rho - p.rho) / 2", "half = p.alpha * (q.rho - p.rho) / 2", N),
    ("solvers/singlestep.py", "[(0, m, total)]", "[(0, m, total / 2), (1, p, total / 2)]", N),
    ("solvers/singlestep.py", "slope_two = -2 * two.sigma", "slope_two = -1 * two.sigma", N),
    ("solvers/singlestep.py", "slope_end = -3 / 2 * q.sigma", "slope_end = -2 / 3 * q.sigma", N),
    ("solvers/singlestep.py", "Row(m.t, [0.0, *single.x], list(single.d))", "Row(m.t, [0.0, *single.x], [0.0, *single.d])", N),
    ("solvers/integrals.py", "-rate * (q.ell - at)", "-(q.ell - at)", L),
    ("solvers/integrals.py", "-q.sigma * weights * np.exp(q.ell - at)", "-q.sigma * weights * np.exp(at - q.ell)", P),
    ("solvers/integrals.py", "(nodes[0].ell - nodes[1].ell) / 2", "(nodes[0].ell - nodes[1].ell)", N),
    ("solvers/integrals.py", "(at - other) / (node - other)", "(at - node) / (node - other)", N),
    ("solvers/multistep.py", "points[max(i + 1 - order, 0) : i + 1][::-1] if node.alpha", "points[max(i + 2 - order, 0) : i + 1][::-1] if node.alpha", N),
    ("solvers/multistep.py", "return nodes[: len(points) - 1 - i] if", "return nodes[: len(points) - i] if", P),
    ("solvers/exponential.py", "[half, total - half]", "[total - half, half]", P),
    ("solvers/exponential.py", "/ 2 * h / before", "/ 2 * before / h", P),
    ("solvers/exponential.py", "d = [kept * a + b", "d = [a + b", P),
    ("solvers/stochastic.py", "math.exp(-noise * (q.ell - p.ell))", "math.exp(-2 * noise * (q.ell - p.ell))", L),
    ("solvers/stochastic.py", "_bracket(q.rho) / _bracket(p.rho)", "_bracket(p.rho) / _bracket(q.rho)", L),
    ("solvers/stochastic.py", "1 + 0.3 * root", "1 + root", L),
    ("solvers/churn.py", "(1 + gamma) * p.rho", "(1 + gamma**2) * p.rho", L),
    ("solvers/churn.py", "-math.expm1(2 * (q.ell - p.ell))", "-math.expm1(q.ell - p.ell)", L),
    ("solvers/adams.py", "3: [23 / 12, -16 / 12, 5 / 12]", "3: [23 / 12, -15 / 12, 4 / 12]", N),
    ("solvers/adams.py", "(2, middle, to_end / 3), (1, middle, to_end / 3)", "(2, middle, to_end / 6), (1, middle, to_end / 2)", P),
    ("solvers/adams.py", "half = whole(\"eps\", p, q) / 2", "half = whole(\"eps\", q, p) / 2", P),
    ("solvers/terms.py", "weight * at.norm / at.sigma", "weight / at.sigma", "solvers/test_consistency.py"),
    ("solvers/inversion.py", "X[i, i] *= 3 / 2", "X[i, i] *= 1", "solvers/test_inversion.py"),
    ("tuning/fit.py", "columns @ target.flatten().double()", "columns @ seen[0].flatten().double()", "tuning"),
    ("guidance/classifier.py", "** 2 / alpha", "/ alpha", "guidance"),
    ("guidance/rescale.py", "wanted / found", "found / wanted", "guidance"),
    ("guidance/interval.py", "low <= t", "low < t", "guidance"),
    ("guidance/thresholding.py", "at.clamp(min=1)", "at.clamp(min=0)", "guidance"),
    ("solvers/spacing.py", "index + 1) / schedule.steps", "index) / schedule.steps", "solvers/test_spacing.py"),
    ("solvers/spacing.py", "return 1 - np.arange(steps) / steps", "return 1 - np.arange(1, steps + 1) / (steps + 1)", "solvers/test_spacing.py"),
    ("solvers/spacing.py", "rho: float = 7.0", "rho: float = 5.0", "solvers/test_spacing.py"),
    ("solvers/loop.py", "value = history[which][k]", "value = history[which][0]", P),
    ("solvers/loop.py", "Stream.STEP, rows[first", "Stream.START, rows[first", "solvers/test_loop.py"),
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
    missed, chosen = [], [m for m in MUTATIONS if m[0].startswith(tuple(sys.argv[1:]) or "")]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("src", "tests", "pyproject.toml"):
            source = ROOT / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copy(source, copy / name)
        for file, old, new, tests in chosen:
            path = copy / "src" / "sfumato" / file
            text = path.read_text()
            assert text.count(old) >= 1, f"{file} no longer holds {old!r}"
            path.write_text(text.replace(old, new, 1))
            found = noticed(copy, tests)
            path.write_text(text)
            print(f"{'noticed' if found else 'MISSED '}  {file}: {old.strip()}  ->  {new.strip()}", flush=True)
            missed += [] if found else [old]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} slips noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
