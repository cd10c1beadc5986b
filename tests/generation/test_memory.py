"""Number types, offloading and predictions, on models in folders."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel

import sfumato as sf
from autoencoders import codec
from encoders import clip
from factory import NETWORK, network, spec
from sfumato.conditioning.frozen import FrozenReader, frozen_spec
from sfumato.conditioning.labels import LabelSet
from sfumato.errors import DivergedError, InputError
from sfumato.generation.guidance import Guidance
from sfumato.generation.memory import Way, memory_table, predict, text_numbers
from sfumato.generation.request import Request
from sfumato.models.folder import save_folder
from sfumato.models.parts import Parts
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet


def write(folder, factor=1.0, decoded=1.0, **changes):
    """A model with CLIP, a U-Net and an autoencoder, of random weights; some are multiplied."""
    clip(folder / "clip")
    text = frozen_spec("clip", folder / "clip", 12, dropout=0.1)
    shape = replace(NETWORK, in_channels=4, context=16)
    base = {"network": shape, "labels": LabelSet(), "text": text, "autoencoder": codec().spec.network, "size": (16, 16)}
    description = spec(**{**base, **changes})
    tensors = {name: factor * value for name, value in network(description).state_dict().items()}
    decoder = {name: decoded * value for name, value in codec().network.state_dict().items()}
    save_folder(folder / "model", description, tensors, "raw", parts=Parts(decoder, folder / "clip"))
    return folder / "model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("m"))


def networks(model):
    """The three of them, one after the other."""
    assert isinstance(model.reader, FrozenReader)
    return [model.reader.network, model.network, model.autoencoder]


def sampled(model, together=True):
    request = Request(3, "dpmpp-2m", guidance_scale=2.0, guidance=Guidance(together=together))
    return model.make(request, 3, seed=4, prompt=["red cat", "apple", "a cat"], batch=2).array


@pytest.mark.parametrize("offload", ["cpu", "disk"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_offloading_changes_no_bit(folder, offload, dtype):
    assert np.array_equal(sampled(sf.load(folder, dtype=dtype, offload=offload)), sampled(sf.load(folder, dtype=dtype)))


def test_one_network_is_in_memory_at_a_time(folder, monkeypatch):
    model, seen = sf.load(folder, offload="disk"), set()
    assert isinstance(model.reader, FrozenReader)
    turns = {"text": model.reader._turn, "network": model._network, "decode": model._autoencoder}

    def watched(name, real):
        def call(self, *arguments, **more):
            seen.add((name, *(turn for turn, held in turns.items() if held._network is not None)))
            return real(self, *arguments, **more)

        return call

    monkeypatch.setattr(UNet, "forward", watched("network", UNet.forward))
    monkeypatch.setattr(Autoencoder, "decode", watched("decode", Autoencoder.decode))
    monkeypatch.setattr(CLIPTextModel, "forward", watched("text", CLIPTextModel.forward))
    sampled(model)
    assert seen == {(name, name) for name in turns}


@pytest.mark.parametrize(("dtype", "digits"), [("bfloat16", 8), ("float16", 11)])
def test_half_precision_makes_nearly_the_same_pictures(folder, dtype, digits):
    model = sf.load(folder, dtype=dtype)
    assert all(p.dtype == getattr(torch, dtype) for found in networks(model) for p in found.parameters())
    asked = model.ask([1], prompt="red cat")
    x = model.start([1])
    found = model.denoiser(asked, 2.0)(x, 0.5)
    context = model.condition(asked).context
    assert context is not None
    assert found.dtype == context.dtype == torch.float32
    expected = sf.load(folder).denoiser(asked, 2.0)(x, 0.5)
    assert 0 < (found - expected).norm() / expected.norm() < 8 * 2.0**-digits
    difference = np.abs(sampled(model).astype(int) - sampled(sf.load(folder)))
    assert 0 < difference.mean() < 255 * 8 * 2.0**-digits


def test_an_overflow_is_told(tmp_path):
    """A U-Net, then a decoder, whose tensors pass 65504."""
    for name, changes, what in (
        ("network", {"factor": 60.0}, "network call 1 of 3.*float16 ends at 65504"),
        ("decoder", {"decoded": 40.0}, "autoencoder's pictures are NaN or infinite.*float16"),
    ):
        (tmp_path / name).mkdir()
        made = write(tmp_path / name, **changes)
        with pytest.raises(DivergedError, match=what):
            sampled(sf.load(made, dtype="float16"))
        assert sampled(sf.load(made, dtype="bfloat16")).std() > 0


def test_a_bound_on_attention_changes_no_picture(folder):
    bounded = sf.load(folder, offload="disk", most_scores=16)
    assert bounded.network.get_submodule("middle.0.attention.blocks.0.self_attention").most_scores == 16
    assert np.abs(sampled(bounded).astype(int) - sampled(sf.load(folder))).max() <= 1


@pytest.mark.parametrize(
    ("how", "what"),
    [({"dtype": "half"}, "no number type 'half'"), ({"offload": "gpu"}, "to cpu or disk, not to 'gpu'")],
)
def test_mistakes(folder, how, what):
    with pytest.raises(InputError, match=what):
        sf.load(folder, **how)


# ---- predictions -----------------------------------------------------------------------------------------------------


def test_predicted_weights_are_those_of_the_files(folder):
    model = sf.load(folder)
    text = text_numbers(model.spec, folder)
    numbers = [sum(p.numel() for p in net.parameters()) for net in networks(model)]
    assert model.spec.weights is not None
    assert numbers[:2] == [text, model.spec.weights.parameters]
    disk = predict(model.spec, Way(offload="disk", dtype="float16"), text).weights
    assert list(disk.items()) == [(t, 2 * n) for t, n in zip(("text", "network", "decode"), numbers, strict=True)]
    plain = predict(model.spec, Way(), text).weights
    assert set(plain.values()) == {4 * sum(numbers)}
    assert predict(model.spec, Way(offload="cpu"), text).weights == plain  # the CPU is the device
    assert predict(model.spec, Way(offload="cpu", device="cuda"), text).weights["network"] == 4 * numbers[1]


def test_predicted_work():
    """Guidance in one call works on twice the pictures; tiles bound the decoder; half the bytes, half the work."""
    shape = replace(NETWORK, in_channels=4, labels=(2, 3))
    description = spec(network=shape, autoencoder=codec().spec.network, size=(256, 256))

    def work(turn, **way):
        return predict(description, Way(device="cuda", **way)).work[turn]

    loop = 8 * 4 * 4 * 128 * 128
    both, one = work("network", guided=True) - loop, work("network", guided=True, together=False) - loop
    assert both == pytest.approx(2 * one, rel=0.01)
    assert one == work("network", guided=False) - loop
    half = work("network", guided=False, dtype="bfloat16") - loop  # what enters and leaves stays float32
    assert half == pytest.approx(one / 2, rel=0.15)
    assert work("network", batch=3, guided=False) == pytest.approx(3 * (one + loop), rel=0.01)
    pictures = 4 * 3 * 256 * 256 + 2 * 4 * 4 * 128 * 128
    assert work("decode", tile=None) - pictures == pytest.approx(4 * (work("decode", tile=64) - pictures), rel=0.3)
    assert work("network", fused=False) > work("network", fused=False, most_scores=1 << 22) >= work("network")


def test_the_table_names_the_turn_of_the_peak():
    rows = [line.split("|")[1:-1] for line in memory_table(spec(size=(64, 64)), Way(guided=True, dtype="float16"))]
    assert [cell.strip() for cell in rows[0]] == ["", "text", "network", "decode", "peak", "at"]
    assert [row[0].strip() for row in rows[2:5]] == ["float16", "one at a time", "offload cpu"]
    for row in rows[2:]:
        assert (row[1].strip(), row[2], row[3].strip(), row[5].strip()) == ("–", row[4], "–", "network")


PEAK = """
import json, re, sys
from pathlib import Path
import sfumato as sf
from sfumato.generation.request import Request
def status(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
sf.load("emoji").sample(1, steps=1)
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
model = sf.load(sys.argv[1], offload=json.loads(sys.argv[2]))
array = model.make(Request(1, "ddim", guidance_scale=1.0), 1, label="none").array
print(json.dumps([status("VmHWM") - before, int(array.sum())]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux' /proc")
def test_offloading_to_disk_lowers_the_measured_peak_as_predicted(tmp_path):
    """Two large parts: one process has both, another one at a time."""
    shape = UNetConfig(4, channels=128, multipliers=(1, 2, 4), attention_levels=(), labels=(2, 3), time_steps=1000)
    decoder = AutoencoderConfig(channels=128, multipliers=(1, 3), blocks=2)
    description = spec(network=shape, autoencoder=decoder, size=(16, 16))
    with torch.device("meta"):
        places = (UNet(shape).state_dict(), Autoencoder(decoder).state_dict())
    states = [{name: torch.zeros(place.shape) for name, place in part.items()} for part in places]
    save_folder(tmp_path / "m", description, states[0], "raw", parts=Parts(states[1]))
    peaks, predicted, sums = [], [], []
    for offload in (None, "disk"):
        words = [sys.executable, "-W", "ignore", "-c", PEAK, str(tmp_path / "m"), json.dumps(offload)]
        peak, total = json.loads(subprocess.run(words, capture_output=True, check=True, text=True).stdout)
        found = predict(description, Way(offload=offload, guided=False)).peak
        assert peak == pytest.approx(found, rel=0.15)
        peaks.append(peak)
        predicted.append(found)
        sums.append(total)
    assert peaks[0] - peaks[1] > 0.8 * (predicted[0] - predicted[1]) > 2**26
    assert sums[0] == sums[1]
