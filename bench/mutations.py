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
    ("solvers/spacing.py", "start * (1 - np.arange(steps) / steps)", "start * (1 - np.arange(1, steps + 1) / (steps + 1))", "solvers/test_spacing.py"),
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
    ("training/loop.py", "torch.manual_seed(seeds.torch_seed(config.seed, seen, seeds.Stream.LAYERS))", "pass", T),
    ("scaling.py", "x.add(1).mul(127.5).round()", "x.add(1).mul(127.5)", "generation"),
    # autoencoders
    ("networks/autoencoder.py", "0.5 * self.log_variance", "self.log_variance", "networks/test_autoencoder.py"),
    ("networks/autoencoder.py", "- 1 - self.log_variance", "- 1 + self.log_variance", "networks/test_autoencoder.py"),
    ("networks/autoencoder.py", "LOG_VARIANCE = (-30.0, 20.0)", "LOG_VARIANCE = (-20.0, 20.0)", "networks/test_autoencoder.py"),
    ("networks/autoencoder.py", "return (z - shift) * scale", "return z * scale - shift", "networks/test_autoencoder.py"),
    ("networks/autoencoder.py", "return latents / scale + shift", "return (latents + shift) / scale", "networks/test_autoencoder.py"),
    ("networks/autoencoder.py", 'padding="end"', 'padding="both"', "models/convert/test_autoencoder.py"),
    ("networks/autoencoder.py", "self.decoder(self.post_quant(", "self.decoder((", "models/convert/test_autoencoder.py"),
    ("networks/autoencoder_config.py", "range(self.blocks + 1)", "range(self.blocks)", "models/convert/test_autoencoder.py"),
    ("models/convert/autoencoder.py", "- 1 - part.level", "- part.level", "models/convert/test_autoencoder.py"),
    ("models/convert/diffusers_attention.py", 'for c in "qkv"]', 'for c in "kqv"]', "models/convert/test_autoencoder.py"),
    ("models/convert/diffusers_attention.py", '"query": "to_q", "key": "to_k"', '"query": "to_k", "key": "to_q"', "models/convert/test_autoencoder.py"),
    ("models/convert/autoencoder_config.py", "said.scaling_factor / std", "said.scaling_factor * std", "models/convert/test_autoencoder.py"),
    ("networks/tiling.py", "overlap * unit / 4, overlap * unit / 2", "0.0, overlap * unit", "networks/test_tiling.py"),
    ("networks/tiling.py", "fade(size * unit - centre)", "fade(size * unit - centre).square()", "networks/test_tiling.py"),
    ("networks/tiling.py", "(length - tile) / (tile - overlap)", "(length - tile) / tile", "networks/test_tiling.py"),
    ("networks/tiling.py", "if last else", "if first else", "networks/test_tiling.py"),
    ("evaluation/similarity.py", "2 * SIGMA**2", "SIGMA**2", "evaluation/test_similarity.py"),
    ("evaluation/similarity.py", "2 * covariance + C2", "covariance + C2", "evaluation/test_similarity.py"),
    ("evaluation/similarity.py", "(0.01 * PEAK) ** 2, (0.03", "(0.01 * PEAK) ** 2, (0.02", "evaluation/test_similarity.py"),
    ("evaluation/similarity.py", "PEAK**2 / error", "PEAK / error", "evaluation/test_similarity.py"),
    ("evaluation/perceptual.py", "LAYERS = (0, 2, 4, 10)", "LAYERS = (0, 2, 4, 9)", "evaluation/test_perceptual.py"),
    ("evaluation/perceptual.py", "(values - 127) / 128", "values / 255", "evaluation/test_perceptual.py"),
    ("evaluation/perceptual.py", "dim=1, eps", "dim=2, eps", "evaluation/test_perceptual.py"),
    ("training/adversarial.py", "F.relu(1 + made)", "F.relu(1 - made)", "training/test_adversarial.py"),
    ("training/adversarial.py", "wanted / (offered", "offered / (wanted", "training/test_adversarial.py"),
    ("training/adversarial.py", "return -made.mean()", "return made.mean()", "training/test_adversarial.py"),
    ("training/latent_scale.py", "mean.square() + variance", "mean.square()", "training/test_autoencoder.py"),
    ("training/latent_scale.py", "- shift.square()", "", "training/test_autoencoder.py"),
    ("training/autoencoder.py", "kl / x[0].numel()", "kl", "training/test_autoencoder.py"),
    ("training/autoencoder.py", "error.square().mean()", "error.square().sum()", "training/test_autoencoder.py"),
    ("training/autoencoder.py", "discriminator_loss(judge(x), judge(made.detach()))", "discriminator_loss(judge(made.detach()), judge(x))", "training/test_autoencoder.py"),
    ("training/autoencoder.py", "judge.requires_grad_(False)", "judge.requires_grad_(True)", "training/test_autoencoder.py"),
    ("training/autoencoder.py", "numbers = [(config.seed, n) for n in range(seen, seen + count)]", "numbers = [(config.seed, n) for n in range(count)]", "training/test_autoencoder.py"),
    ("training/autoencoder.py", "checkpoint.restore(out / \"checkpoints\", both,", "checkpoint.restore(out / \"checkpoints\", network,", "training/test_autoencoder.py"),
    ("training/autoencoder.py", "seen >= config.adversarial_start", "seen > config.adversarial_start", "training/test_autoencoder.py"),
    ("training/held_out.py", "order[count:])), data.subset(np.sort(order[:count]", "order)), data.subset(np.sort(order[:count]", "training/test_autoencoder.py"),
    ("models/convert/rules.py", "lambda w: w.unflatten(0, (heads, 3, -1)).transpose(0, 1)", "lambda w: w.unflatten(0, (heads, 3, -1))", "models/convert/test_unet_openai.py"),
    ("models/convert/rules.py", "if not tensors[name].isfinite().all():", "if False:", "models/convert/test_pipeline.py"),
    ("models/convert/unet_openai.py", "+ part.number + 1}", "+ part.number}", "models/convert/test_unet_openai.py"),
    ("models/convert/unet_openai.py", "\"time_encoding\": \"adm\"", "\"time_encoding\": \"ddpm\"", "models/convert/test_unet_openai.py"),
    ("models/convert/diffusers_config.py", "facts.attn_norm_num_groups not in same_groups", "False", "models/convert/test_unet_diffusers.py"),
    ("models/convert/diffusers_keys.py", "(False, 1): \"ddpm\"", "(False, 0): \"ddpm\"", "models/convert/test_unet_diffusers.py"),
    ("models/convert/diffusers_keys.py", "0: \"conv-end\"", "0: \"conv\"", "models/convert/test_unet_diffusers.py"),
    ("models/convert/lora.py", "mul_(scale * alpha / len(down))", "mul_(scale * alpha)", "models/convert/test_lora.py"),
    ("models/convert/lora.py", "len(down) if update.alpha is None", "1 if update.alpha is None", "models/convert/test_lora.py"),
    ("models/convert/lora.py", "        if scale:\n", "        if True:\n", "models/convert/test_lora.py"),
    ("models/convert/step_index.py", "a * omega.cos() - b * turn", "a * omega.cos() + b * turn", "models/convert/test_pipeline.py"),
    ("models/convert/step_index.py", "else -omega.sin()", "else omega.sin()", "models/convert/test_pipeline.py"),
    ("models/convert/schedule.py", "steps, rescaled, **betas", "steps, False, **betas", "models/convert/test_schedule.py"),
    ("models/convert/checkpoint.py", "weights_only=True", "weights_only=False", "models/convert/test_checkpoint.py"),
    ("models/convert/checkpoint.py", "if start == b\"PK\" or", "if False and", "models/convert/test_checkpoint.py"),
    ("models/convert/checkpoint.py", "Path(file).name != file or", "", "models/convert/test_checkpoint.py"),
    ("models/convert/single_file.py", "unet = _averaged(unet, average)", "_averaged(unet, average)", "models/convert/test_single_file.py"),
    ("models/convert/text_encoder.py", "\"hidden_act\": \"quick_gelu\"", "\"hidden_act\": \"gelu\"", "cli/test_convert.py"),
    ("networks/layers.py", "torch.addcmul(shift, self.norm2(h), 1 + scale)", "torch.addcmul(shift, self.norm2(h), scale)", "models/convert/test_unet_openai.py"),
    ("networks/layers.py", "F.pad(x, (0, 1, 0, 1))", "F.pad(x, (1, 0, 1, 0))", "models/convert/test_unet_diffusers.py"),
    ("networks/layers.py", "half - (kind == \"ddpm\")", "half - 1", "models/convert/test_unet_diffusers.py"),
    ("networks/transformer.py", "value, gate = self.enter(x)", "gate, value = self.enter(x)", "models/convert/test_unet_diffusers.py"),
    ("networks/encoder.py", "config.time_steps * t - 1", "config.time_steps * t", "models/convert/test_unet_diffusers.py"),
    ("networks/attend.py", "mask[:, None, None, :]", "mask[:, None, :, None]", "networks/test_transformer.py"),
    ("networks/transformer.py", "self.value(context.tokens)", "self.key(context.tokens)", "networks/test_transformer.py"),
    ("networks/transformer.py", "x = x + self.cross_attention(self.norm2(x), context)", "x = x + self.cross_attention(x, context)", "networks/test_transformer.py"),
    ("networks/transformer.py", "h = block(h, mask=mask)", "h = block(h)", "networks/test_transformer.py"),
    ("networks/condition.py", "/ there.sum(1)", "/ there.shape[1]", "networks/test_transformer.py"),
    ("networks/unet.py", "self.pooled(context.mean())", "self.pooled(context.tokens.mean(1))", "networks/test_transformer.py"),
    ("conditioning/text.py", "torch.lerp(empty, read.context, weights)", "read.context * weights", "conditioning/test_text.py"),
    ("conditioning/words.py", "{word: i + 1 for", "{word: i for", "conditioning/test_words.py"),
    ("conditioning/words.py", 'known = word.removesuffix(ending) + instead', 'known = word.removesuffix(ending)', "conditioning/test_words.py"),
    ("conditioning/frozen.py", "[1.0] * len(self._prefix) + weights", "weights + [1.0] * len(self._prefix)", "conditioning/test_frozen.py"),
    ("conditioning/frozen.py", "ids[:room], *self._suffix]", "ids[:room]]", "conditioning/test_frozen.py"),
    ("training/captions.py", "with_caption < 0.8", "with_caption < 0.9", "training/test_captions.py"),
    ("training/captions.py", "rng.integers(0 if whole else 1", "rng.integers(0", "training/test_captions.py"),
    ("training/captions.py", "if empty < self.dropout", "if empty > 1 - self.dropout / 2", "training/test_captions.py"),
    ("training/latents.py", "posterior.sample(fresh)", "posterior.mode", "training/test_text.py"),
    ("training/latents.py", '"mirrored" if m else "moments"', '"moments"', "training/test_text.py"),
    ("training/subject.py", "parts += [self.data.text_fingerprint, self.text.sha256]", "parts += [self.text.sha256]", "training/test_text.py"),
    ("training/subject.py", "parts.append(self.latents.key)", "pass", "training/test_text.py"),
    ("conditioning/frozen.py", "        _no_code(folder)\n", "", "conditioning/test_frozen.py"),
    ("models/parts.py", "sorted(present - set(spec.files))", "()", "training/test_text.py"),
    ("training/batches.py", "images[mirrored, :, ::-1]", "images[mirrored, ::-1]", "training/test_batches.py"),
    ("data/emoji_parts.py", "held_out == (side == \"held-out\")", "held_out != (side == \"held-out\")", "data/test_emoji.py"),
    ("data/emoji.py", "len(places) >= 3 and", "len(places) >= 1 and", "data/test_emoji.py"),
    ("generation/asking.py", "replace(asked, texts=(text,) * len(asked))", "asked", "generation/test_prompts.py"),
    ("generation/model.py", "index = torch.tensor([unique.index(text)", "index = torch.tensor([0 * unique.index(text)", "generation/test_prompts.py"),
    ("evaluation/retrieval.py", "(best > own[:, None])", "(best >= own[:, None])", "evaluation/test_retrieval.py"),
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
