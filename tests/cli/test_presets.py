"""Presets, and what a dry run says of them."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from factory import NETWORK
from sfumato.cli.main import main
from sfumato.cli.options import read_options
from sfumato.cli.train import Train
from sfumato.errors import InputError
from sfumato.networks.unet import UNet
from sfumato.training.config import TrainConfig
from sfumato.training.estimate import estimate
from sfumato.training.presets import PRESETS, preset
from sfumato.training.subject import network_for

SIZES = {  # million parameters, as published: Ho's 35.7; "50M"; ADM's 296; EDM's network has 55.7 and other blocks
    "ddpm-cifar10": (35.7, 0.05),
    "iddpm-cifar10": (52.5, 0.1),
    "adm-64": (296, 0.5),
    "edm-cifar10": (56, 6),
    "emoji": (3.7, 0.05),
}


def read(*words: str) -> Train:
    return read_options(Train, "sfumato train", words)


@pytest.mark.parametrize("name", PRESETS)
def test_each_is_a_training_of_the_published_size(name):
    found = read("--preset", name, "--data", "x", "--out", "y")
    assert set(PRESETS[name].options) <= {field.name for field in fields(TrainConfig)}
    for key, value in PRESETS[name].options.items():
        if key != "data":
            assert getattr(found, key) == value, key
    told = 1 + (found.objective.variance != "fixed")
    labels = (9, 5) if name == "emoji" else found.network.labels  # emoji's are those of its data
    with torch.device("meta"):
        network = UNet(network_for(replace(found.network, labels=()), 3, labels, 3, 3 * told))
    count, within = SIZES[name]
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(count, abs=within)
    assert found.schedule.build().terminal_snr < 0.02


def test_lengths_are_as_published():
    ho = read("--preset", "ddpm-cifar10")
    assert (ho.pictures, ho.batch, ho.lr, ho.ema_halflife) == (102_400_000, 128, 2e-4, 887_184)
    assert ho.out.name == "ddpm-cifar10"
    assert 0.5 ** (128 / ho.ema_halflife) == pytest.approx(0.9999, abs=1e-9)


def test_flags_and_files_override_it_one_by_one(tmp_path):
    (tmp_path / "mine.toml").write_text('preset = "ddpm-cifar10"\nbatch = 64\n[network]\nchannels = 32\n')
    found = read("--config", str(tmp_path / "mine.toml"), "--network.blocks", "1", "--lr", "1e-3")
    assert (found.batch, found.lr, found.pictures) == (64, 1e-3, 102_400_000)
    assert (found.network.channels, found.network.blocks, found.network.attention_levels) == (32, 1, (1,))


def test_an_unknown_one_names_the_nearest(capsys):
    with pytest.raises(InputError, match="Did you mean 'adm-64'"):
        preset("adm64")
    assert main(["train", "--preset", "emojis", "--dry-run"]) == 2
    assert "Did you mean 'emoji'" in capsys.readouterr().err


def test_a_dry_run_says_what_it_would_cost_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--preset", "ddpm-cifar10", "--size", "8", "--network.channels", "8", "--network.groups", "4"]
    assert main(["train", *words, "--dry-run", "--batch", "4", "--threads", "1"]) == 0
    said = capsys.readouterr().out
    for word in ("Ho et al. 2020", "differs:", "parameters", "GFLOPs", "MB", "pictures/s on 1 CPU threads", "days"):
        assert word in said
    assert not list(tmp_path.iterdir())


def test_counts_are_those_of_one_convolution_after_another():
    """FLOPs of the forward pass of a tiny network, summed by hand over its convolutions and linear layers."""
    shape = replace(NETWORK, attention_levels=(), mid_attention=False)
    found = estimate(TrainConfig(data="", out=Path(), size=8, network=shape, batch=4, device="cpu", threads=1))
    total, network = 0, UNet(network_for(shape, 3, ()))

    def count(module, inputs, output):
        nonlocal total
        weight, places = module.weight, output[0, 0].numel() if output.ndim == 4 else 1
        total += 2 * weight.numel() * places

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, 8, 8), 0.5)
    assert found.forward_flops == total
    assert 2.5 < found.step_flops / found.forward_flops < 3.1
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert found.state_bytes == 4 * found.parameters * 5
    assert found.peak_bytes > found.state_bytes
    assert found.seconds > 0


def test_what_a_dry_run_cannot_know(capsys):
    assert main(["train", "--data", "emoji", "--out", "x", "--text", "words", "--dry-run"]) == 2
    assert "not with --text" in capsys.readouterr().err
