import io
import json
import math
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

import sfumato as sf
from autoencoders import SHAPE, config
from factory import QUIET, pictures
from sfumato.data.dataset import Dataset
from sfumato.data.pack import read_pack, write_pack
from sfumato.errors import DivergedError, InputError, SfumatoError
from sfumato.evaluation.similarity import psnr
from sfumato.networks.autoencoder import Autoencoder, Posterior
from sfumato.networks.discriminator import PatchDiscriminator
from sfumato.scaling import to_unit
from sfumato.seeds import Stream, noise, torch_seed
from sfumato.training import autoencoder, autoencoder_folder
from sfumato.training.autoencoder import train_autoencoder
from sfumato.training.batches import Batches
from sfumato.training.held_out import split
from sfumato.training.latent_scale import measured


@pytest.fixture(autouse=True)
def _without_features(monkeypatch):
    """The Fréchet distance of 1280 features takes seconds; one test has features of its own."""
    monkeypatch.setattr(autoencoder_folder, "installed_features", lambda device: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"), count=16, side=16)


GAN = {"adversarial": 0.5, "adversarial_start": 16, "discriminator_channels": 4}


def checkpoint(out):
    return load_file(sorted((out / "checkpoints").glob("*.safetensors"))[-1])


def outcome(out):
    """What must be equal: all state, the finished folder, the report, and the log but for its timings."""
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    facts = [{k: v for k, v in entry.items() if k not in ("rate", "memory_mb")} for entry in log]
    files = ["model/weights.safetensors", "model/autoencoder.json", "model/README.md", "report.json", "pairs.png"]
    tensors = {name: value.numpy().tobytes() for name, value in checkpoint(out).items()}
    return tensors, facts, [(out / name).read_bytes() for name in files]


def test_a_run_leaves_what_it_promises(tmp_path, data, monkeypatch):
    monkeypatch.setattr(
        autoencoder_folder, "installed_features", lambda device: lambda x: x.mean((1, 2)).astype(np.float64)
    )
    out = tmp_path / "run"
    assert train_autoencoder(config(data, out, sample_every=20), QUIET) == out / "model"
    assert sorted(p.name for p in out.iterdir()) == [
        ".lock",
        "checkpoints",
        "config.json",
        "data.safetensors",
        "log.jsonl",
        "model",
        "pairs.png",
        "report.json",
        "samples",
    ]
    assert [p.name for p in sorted((out / "samples").iterdir())] == ["000000000020.png", "000000000040.png"]
    entry = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert {"pictures", "loss", "reconstruction", "kl", "grad_norm", "lr", "rate", "memory_mb"} <= set(entry)
    codec = sf.load_autoencoder(out)
    kept, held = split(read_pack(out / "data.safetensors"), 0.25, 0, labelled=False)
    assert (len(kept), len(held)) == (12, 4)
    unseen, seen = codec.spec.reconstruction
    assert [(r.pictures, r.count) for r in (unseen, seen)] == [("kept back", 4), ("learned from", 4)]
    made = codec.decode(codec.encode(held.images)).array
    assert unseen.psnr == pytest.approx(psnr(held.images, made), abs=0.05)
    assert unseen.kl_nats == pytest.approx(codec.posterior(held.images).kl().mean().item(), rel=1e-4)
    assert unseen.kl_bits == pytest.approx(unseen.kl_nats / math.log(2))
    assert unseen.fd is not None
    assert unseen.ssim is not None
    assert json.loads((out / "report.json").read_text())[0]["psnr"] == unseen.psnr
    sheet = np.asarray(Image.open(out / "pairs.png"))
    assert sheet.shape == (2 * 18 + 2, 4 * 18 + 2, 3)  # four originals above four reconstructions
    assert np.array_equal(sheet[2:18, 2:18], held.images[0])


def smooth(path, count=60):
    """A pack of pictures without fine detail: a bright blob each, somewhere, in some colour, on black."""
    rng, grid = np.random.default_rng(0), np.arange(16)
    rows, columns = (rng.uniform(2, 14, (count, 1)) for _ in range(2))
    blob = np.exp(-((grid - rows) ** 2) / 18)[:, :, None] * np.exp(-((grid - columns) ** 2) / 18)[:, None]
    images = (blob[..., None] * rng.uniform(100, 255, (count, 1, 1, 3))).astype(np.uint8)
    write_pack(Dataset("blobs", images, np.zeros((count, 0), np.int64)), path)
    return path


def test_learns_to_reconstruct_what_it_has_not_seen(tmp_path):
    out, data = tmp_path / "run", smooth(tmp_path / "blobs.safetensors")
    changes = {"pictures": 2400, "batch": 8, "lr": 5e-3, "ema_halflife": 200, "log_every": 800, "warmup": 80}
    train_autoencoder(config(data, out, checkpoint_every=2400, **changes), QUIET)
    codec = sf.load_autoencoder(out)
    kept, held = split(read_pack(data), 0.25, 0, labelled=False)
    mean = np.broadcast_to(held.images.mean((1, 2), keepdims=True).round().astype(np.uint8), held.images.shape)
    found, blurred = codec.spec.reconstruction[0].psnr, psnr(held.images, mean)
    assert found is not None
    assert blurred is not None
    assert found > blurred + 9
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] / 2
    posterior = codec.posterior(kept.images)
    draws = torch.cat([posterior.sample(torch.randn_like(posterior.mean)) for _ in range(50)])
    latents = codec.network.to_latents(draws)
    torch.testing.assert_close(latents.mean((0, 2, 3)), torch.zeros(4), atol=0.05, rtol=0)
    torch.testing.assert_close(latents.var((0, 2, 3)), torch.ones(4), atol=0.1, rtol=0)


class Told(torch.nn.Module):
    """Says a mean that is the picture's own value, scaled, and a variance of 4, for two channels."""

    def __init__(self):
        super().__init__()
        self.config = replace(SHAPE, latent_channels=2)
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def encode(self, x):
        mean = torch.cat([x[:, :1], 3 * x[:, :1] + 1], 1)
        return Posterior(mean, torch.full_like(mean, math.log(4)))


def test_latent_mean_and_variance_are_those_of_draws():
    """Values -1 and 1 in equal parts: means 0 and 1; variances 1 + 4 and 9 + 4."""
    images = np.zeros((6, 4, 4, 3), np.uint8)
    images[::2] = 255
    found = measured(Told(), images, batch=4)  # type: ignore[arg-type]
    assert found.latent_shift == pytest.approx((0.0, 1.0))
    assert found.latent_scale == pytest.approx((5**-0.5, 13**-0.5))


def first_step(data, out, **changes):
    """The first step of that run, done again in the open: what the losses are made of, before anything is learned."""
    cfg = config(data, out, **changes)
    kept, _ = split(read_pack(out / "data.safetensors"), 0.25, 0, labelled=False)
    torch.manual_seed(torch_seed(0, 0, Stream.WEIGHTS))
    net = Autoencoder(SHAPE).train()
    judge = PatchDiscriminator(3, cfg.discriminator_channels, cfg.discriminator_layers)
    x = Batches(kept, 0).at(0, 4).x0
    posterior = net.encode(x)
    made = net.decode(posterior.sample(noise([(0, n) for n in range(4)], (4, 8, 8), Stream.TRAIN_NOISE)))
    return net, judge, x, made, posterior.kl()


def compare(out, net, judge=None):
    stored = checkpoint(out)
    for part, network in (("autoencoder", net), ("discriminator", judge)):
        for name, value in network.state_dict().items() if network else ():
            torch.testing.assert_close(stored[f"weights/{part}.{name}"], value, rtol=1e-4, atol=2e-6)


def test_one_step_is_adamw_on_the_stated_loss(tmp_path, data):
    """L1, L2 and KL, each in its own weight and for one value of the picture."""
    out, changes = tmp_path / "run", {"pictures": 4, "l1": 0.7, "l2": 2.0, "kl_weight": 3.0}
    train_autoencoder(config(data, out, cooldown=0.0, **changes), QUIET)
    net, _, x, made, kl = first_step(data, out)
    values, error = 3 * 16 * 16, made - x
    loss = (0.7 * error.abs().sum() + 2.0 * error.square().sum()) / values / 4
    total = loss + 3.0 * kl.sum() / 4 / values
    entry = json.loads((out / "log.jsonl").read_text())
    assert entry["loss"] == pytest.approx(total.item(), rel=1e-5)
    assert entry["reconstruction"] == pytest.approx(loss.item(), rel=1e-5)
    assert entry["kl"] == pytest.approx(kl.mean().item(), rel=1e-5)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3 * 4 / 8, betas=(0.9, 0.99), weight_decay=0.0)
    total.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    compare(out, net)


@pytest.mark.parametrize("batch", [4, 7])
def test_noise_belongs_to_the_picture_of_the_run_and_not_to_the_batch(tmp_path, data, monkeypatch, batch):
    honest, seen = Posterior.sample, []

    def watch(self, drawn):
        seen.append(drawn.clone())
        return honest(self, drawn)

    monkeypatch.setattr(Posterior, "sample", watch)
    train_autoencoder(config(data, tmp_path / "run", batch=batch), QUIET)
    expected = noise([(0, n) for n in range(40)], (4, 8, 8), Stream.TRAIN_NOISE)
    assert torch.equal(torch.cat(seen), expected)


def test_one_adversarial_step_by_hand(tmp_path, data):
    """The decoder lowers λ·w·(-E D(x̂)), λ the ratio of gradients at its last weights; the discriminator its hinge."""
    out = tmp_path / "run"
    changes = {**GAN, "adversarial_start": 0, "pictures": 4, "cooldown": 0.0}
    train_autoencoder(config(data, out, **changes), QUIET)
    net, judge, x, made, kl = first_step(data, out, **changes)
    reconstruction = (x - made).abs().mean()
    last = dict(net.named_parameters())["decoder.leave.2.weight"]
    fooling = -judge(made).mean()
    (a,), (b,) = (torch.autograd.grad(v, [last], retain_graph=True) for v in (reconstruction, fooling))
    weight = a.norm() / (b.norm() + 1e-6)
    parts = list(net.parameters())
    total = reconstruction + 1e-6 * kl.mean() / 768 + 0.5 * weight.item() * fooling
    for p, g in zip(parts, torch.autograd.grad(total, parts, retain_graph=True), strict=True):
        p.grad = g
    real, fake = judge(x), judge(made.detach())
    hinge = 0.5 * ((1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean())
    hinge.backward()
    entry = json.loads((out / "log.jsonl").read_text())
    assert entry["adaptive_weight"] == pytest.approx(weight.item(), rel=1e-4)
    assert entry["fooling"] == pytest.approx(fooling.item(), rel=1e-4)
    assert entry["discriminator"] == pytest.approx(hinge.item(), rel=1e-4)
    assert entry["loss"] == pytest.approx((reconstruction + 1e-6 * kl.mean() / 768).item(), rel=1e-5)
    for network, betas in ((net, (0.9, 0.99)), (judge, (0.5, 0.9))):
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        torch.optim.AdamW(network.parameters(), lr=1e-3 * 4 / 8, betas=betas, weight_decay=0.0).step()
    compare(out, net, judge)


def test_the_discriminator_rests_until_its_start(tmp_path, data):
    for name, start in (("never", 40), ("late", 20)):
        train_autoencoder(config(data, tmp_path / name, **{**GAN, "adversarial_start": start}), QUIET)
    train_autoencoder(config(data, tmp_path / "none"), QUIET)
    never, none = checkpoint(tmp_path / "never"), checkpoint(tmp_path / "none")
    assert all(torch.equal(never[name], value) for name, value in none.items())
    log = [json.loads(line) for line in (tmp_path / "late" / "log.jsonl").read_text().splitlines()]
    assert [entry["adaptive_weight"] > 0 for entry in log] == [False, False, True, True, True]


def test_the_perceptual_distance_takes_part(tmp_path, data, monkeypatch):
    """Another distance in the place of the network's: the sum of squares of the first channel."""

    class Distance:
        def __init__(self, device):
            pass

        def __call__(self, one, other):
            return (one - other)[:, 0].square().sum((1, 2))

    monkeypatch.setattr(autoencoder, "PerceptualDistance", Distance)
    out = tmp_path / "run"
    train_autoencoder(config(data, out, pictures=4, perceptual=0.25), QUIET)
    _, _, x, made, _ = first_step(data, out)
    expected = (x - made).abs().mean() + 0.25 * (x - made)[:, 0].square().sum() / 4
    assert json.loads((out / "log.jsonl").read_text())["reconstruction"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_real_perceptual_distance_can_be_trained_on(tmp_path, data):
    """Its weight changes what is learned."""
    states = []
    for weight in (0.0, 1.0):
        out = tmp_path / f"{weight}"
        train_autoencoder(config(data, out, pictures=8, perceptual=weight), QUIET)
        states.append(load_file(out / "model" / "weights.safetensors"))
    assert any(not torch.equal(value, states[1][name]) for name, value in states[0].items())


class Killed(BaseException):
    """The process is gone: nothing that follows is run."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, data):
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoder_folder, "installed_features", lambda device: None)
        train_autoencoder(config(data, out, **GAN), QUIET)
    return outcome(out)


@pytest.mark.parametrize("deaths", [[1], [4, 0], [5, 3], [9]], ids=str)
def test_killed_and_resumed_is_byte_for_byte_the_same(tmp_path, data, undisturbed, deaths, monkeypatch):
    """10 steps, a checkpoint after 3, 6, 9 and 10, the discriminator from step 4 on: before, at and after its start."""
    out, honest = tmp_path / "run", torch.optim.AdamW.step
    for i, steps in enumerate(deaths):
        left = [steps]

        def step(self, *args, left=left, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return honest(self, *args, **kwargs)

        monkeypatch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(Killed):
            train_autoencoder(config(data, out, resume=i > 0, **GAN), QUIET)
    monkeypatch.setattr(torch.optim.AdamW, "step", honest)
    torch.manual_seed(17)  # the global state has no part in it
    train_autoencoder(config(data, out, resume=True, **GAN), QUIET)
    for mine, theirs in zip(outcome(out), undisturbed, strict=True):
        assert mine == theirs


def test_there_is_something_to_compare(undisturbed):
    tensors, log, _ = undisturbed
    assert {key.split(".")[0] for key in tensors if "/" in key and key.startswith("weights")} == {
        "weights/autoencoder",
        "weights/discriminator",
    }
    assert [entry["pictures"] for entry in log] == [8, 16, 24, 32, 40]
    net, judge = Autoencoder(SHAPE), PatchDiscriminator(3, 4, 2)
    count = sum(1 for part in (net, judge) for _ in part.parameters())
    assert sum(name.endswith("/exp_avg") for name in tensors) == count


def test_a_finished_run_that_lost_its_folder_gets_it_again(tmp_path, data, undisturbed, monkeypatch):
    """Killed between the last checkpoint and the finished folder."""
    out, honest = tmp_path / "run", autoencoder_folder.finish

    def die(*args):
        raise Killed

    monkeypatch.setattr(autoencoder_folder, "finish", die)
    with pytest.raises(Killed):
        train_autoencoder(config(data, out, **GAN), QUIET)
    assert not (out / "model").exists()
    monkeypatch.setattr(autoencoder_folder, "finish", honest)
    train_autoencoder(config(data, out, resume=True, **GAN), QUIET)
    assert outcome(out) == undisturbed


def test_ctrl_c_saves_says_how_to_go_on_and_changes_nothing(tmp_path, data, undisturbed, monkeypatch):
    out, said = tmp_path / "run", io.StringIO()
    count, honest = [0], autoencoder.decay

    def interrupting(*args):
        count[0] += 1
        if count[0] == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return honest(*args)

    monkeypatch.setattr(autoencoder, "decay", interrupting)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(config(data, out, **GAN), Console(file=said, width=200))
    assert f"Stopped and saved at 20 pictures. Go on with: sfumato train-autoencoder --out {out} --resume" in (
        said.getvalue()
    )
    monkeypatch.setattr(autoencoder, "decay", honest)
    train_autoencoder(config(data, out, resume=True, **GAN), QUIET)
    assert outcome(out) == undisturbed


def test_resume_refuses_another_run(tmp_path, data):
    out = tmp_path / "run"
    with pytest.raises(InputError, match="holds no run to resume"):
        train_autoencoder(config(data, out, resume=True), QUIET)
    train_autoencoder(config(data, out), QUIET)
    with pytest.raises(InputError, match=r"already holds a run\. Go on with it: sfumato train-autoencoder"):
        train_autoencoder(config(data, out), QUIET)
    with pytest.raises(InputError, match=r"l2 was 0.0 and now is 1.0"):
        train_autoencoder(config(data, out, resume=True, l2=1.0), QUIET)
    said = io.StringIO()
    train_autoencoder(config(data, out, resume=True, pictures=48, lr=5e-4), Console(file=said, width=200))
    assert "pictures was 40 and now is 48" in said.getvalue()
    assert sf.load_autoencoder(out).spec.training["pictures"] == 48
    with pytest.raises(InputError, match="has seen 48 pictures, more than the 40"):
        train_autoencoder(config(data, out, resume=True, lr=5e-4), QUIET)


def test_nan_stops_the_run_and_names_the_batch(tmp_path, data, monkeypatch):
    honest, calls = autoencoder._distance, [0]

    def failing(*args):
        calls[0] += 1
        return honest(*args) * (float("nan") if calls[0] == 6 else 1.0)

    monkeypatch.setattr(autoencoder, "_distance", failing)
    out = tmp_path / "run"
    with pytest.raises(DivergedError, match=r"step after 20 pictures: loss nan.*sfumato train-autoencoder") as caught:
        train_autoencoder(config(data, out), QUIET)
    kept, _ = split(read_pack(out / "data.safetensors"), 0.25, 0, labelled=False)
    assert ", ".join(map(str, Batches(kept, 0).at(20, 4).pictures)) in str(caught.value)
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["000000000012.safetensors", "latest"]
    assert not (out / "model").exists()


def test_a_discriminator_that_breaks_stops_the_run_too(tmp_path, data, monkeypatch):
    monkeypatch.setattr(autoencoder, "discriminator_loss", lambda real, made: (real - made).mean() * float("inf"))
    with pytest.raises(DivergedError, match=r"the step after 16 pictures: loss 0\.\d+, gradient norm nan"):
        train_autoencoder(config(data, tmp_path / "run", **GAN), QUIET)


def test_a_full_disk_is_told(tmp_path, data, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(autoencoder.checkpoint, "save", full)
    with pytest.raises(SfumatoError, match=r"at 12 pictures: No space left.*sfumato train-autoencoder .*--resume"):
        train_autoencoder(config(data, tmp_path / "run"), QUIET)


def test_grey_and_small_pictures(tmp_path):
    """Grey pictures make a grey autoencoder; pictures smaller than SSIM's window get no SSIM."""
    images = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 1), dtype=np.uint8)
    write_pack(Dataset("grey", images, np.zeros((12, 0), np.int64)), tmp_path / "grey.safetensors")
    train_autoencoder(config(tmp_path / "grey.safetensors", tmp_path / "run", size=8, pictures=8, flip=True), QUIET)
    codec = sf.load_autoencoder(tmp_path / "run")
    assert codec.spec.network.in_channels == 1
    assert codec.spec.reconstruction[0].ssim is None
    assert codec.decode(codec.encode(images)).array.shape == images.shape
    cfg = config(tmp_path / "grey.safetensors", tmp_path / "b", size=8, network=replace(SHAPE, in_channels=4))
    with pytest.raises(InputError, match=r"network.in_channels is 4, but the data has 1 channels"):
        train_autoencoder(cfg, QUIET)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "emojy"}, "Did you mean 'emoji'"),
        ({"size": 15}, "a height of 15 does not fit this autoencoder"),
        ({"held_out": 0.001}, "has 16 pictures; .* Both need at least 1"),
        ({"l1": 0.0}, "one of l1 and l2 must be above 0"),
        ({"kl_weight": -1.0}, "kl_weight cannot be negative"),
        ({"network": replace(SHAPE, latent_scale=(0.2,))}, "latent_shift and latent_scale are measured"),
        ({"adversarial": 1.0, "discriminator_layers": 5}, "halves the resolution 5 times does not fit a size of 16"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"sample_every": -1}, "sample_every cannot be negative"),
        ({"device": "warp"}, "device 'warp'"),
    ],
)
def test_bad_configs(tmp_path, data, changes, message):
    with pytest.raises(InputError, match=message):
        train_autoencoder(config(**{"data": data, "out": tmp_path / "run", **changes}), QUIET)
    assert not (tmp_path / "run" / "config.json").exists()


def test_pictures_kept_back_are_never_learned_from(tmp_path, data):
    """Another picture among those kept back changes nothing that is learned."""
    out = tmp_path / "run"
    train_autoencoder(config(data, out), QUIET)
    whole = read_pack(out / "data.safetensors")
    _, held = split(
        replace(whole, labels=np.arange(16)[:, None], kinds={"i": tuple(map(str, range(16)))}), 0.25, 0, False
    )
    changed = whole.images.copy()
    changed[held.labels[:, 0]] = 7
    write_pack(replace(whole, images=changed), tmp_path / "changed.safetensors")
    train_autoencoder(config(tmp_path / "changed.safetensors", tmp_path / "other"), QUIET)
    mine, theirs = checkpoint(out), checkpoint(tmp_path / "other")
    assert all(torch.equal(mine[name], value) for name, value in theirs.items())
    assert to_unit(changed).shape == (16, 3, 16, 16)
