import json
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sfumato as sf
from factory import NETWORK, QUIET, config, pictures
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import DivergedError, InputError, SfumatoError
from sfumato.networks.unet import UNet
from sfumato.training.config import TrainConfig
from sfumato.training.loop import train
from sfumato.training.objective import Objective
from sfumato.training.pacing import learning_rate
from sfumato.training.times import on_steps


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


def weights(out):
    return load_file(sorted((out / "checkpoints").glob("*.safetensors"))[-1])


def test_a_run_leaves_what_it_promises(tmp_path, data):
    out = tmp_path / "run"
    folder = train(config(data, out, sample_every=20), QUIET)
    assert folder == out / "model"
    assert sorted(p.name for p in out.iterdir()) == [
        ".lock",
        "checkpoints",
        "config.json",
        "data.safetensors",
        "log.jsonl",
        "model",
        "samples",
    ]
    names = [p.name for p in sorted((out / "checkpoints").iterdir())]
    assert names == ["000000000036.safetensors", "000000000040.safetensors", "latest"]
    assert [p.name for p in sorted((out / "samples").iterdir())] == ["000000000020.png", "000000000040.png"]
    entry = json.loads((out / "log.jsonl").read_text().splitlines()[-1])
    assert {"pictures", "loss", "grad_norm", "lr", "rate", "memory_mb"} <= set(entry)
    model = sf.load(out)
    assert model.spec.labels.kinds == {"class": ("blue", "red")}
    assert model.sample(3, label="red").array.shape == (3, 8, 8, 3)
    assert "12 pictures" in (folder / "README.md").read_text()


def test_takes_paths_and_texts_alike(tmp_path, data):
    cfg = replace(config(data, tmp_path / "run", pictures=4), data=data, out=str(tmp_path / "run"))  # type: ignore[arg-type]
    assert (cfg.data, cfg.out) == (str(data), tmp_path / "run")
    assert train(cfg, QUIET) == tmp_path / "run" / "model"


def test_learns_what_the_pictures_show(tmp_path, data):
    """Red pictures are red and blue ones blue after a short run."""
    out = tmp_path / "run"
    train(
        config(data, out, pictures=4000, batch=16, lr=4e-3, ema_halflife=400, log_every=1000, checkpoint_every=4000),
        QUIET,
    )
    model = sf.load(out)
    red, blue = (model.sample(8, label=name, steps=10).array.astype(float).mean((0, 1, 2)) for name in ("red", "blue"))
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60
    losses = [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] / 2


def test_micro_batches_make_the_same_step(tmp_path, data):
    for parts in (1, 2, 4):
        train(config(data, tmp_path / str(parts), accumulate=parts, pictures=8), QUIET)
    whole = weights(tmp_path / "1")
    for parts in ("2", "4"):
        torch.testing.assert_close(weights(tmp_path / parts), whole, rtol=1e-3, atol=1e-5)


def test_workers_change_nothing(tmp_path, data):
    for workers in (0, 3):
        train(config(data, tmp_path / str(workers), workers=workers, pictures=8), QUIET)
    torch.testing.assert_close(weights(tmp_path / "3"), weights(tmp_path / "0"), rtol=0, atol=0)


def test_one_step_is_adamw_on_the_stated_loss(tmp_path, data):
    """The first step, done again with torch's plain AdamW and the loss written out."""
    train(config(data, tmp_path / "run", pictures=4, warmup=8), QUIET)
    cfg = config(data, tmp_path / "run")
    from sfumato.data.pack import read_pack
    from sfumato.seeds import Stream, torch_seed
    from sfumato.training.batches import Batches

    pack = read_pack(tmp_path / "run" / "data.safetensors")
    torch.manual_seed(torch_seed(0, 0, Stream.WEIGHTS))
    network = UNet(replace(NETWORK, labels=(2,))).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3 * 4 / 8, betas=(0.9, 0.99), weight_decay=0.0)
    batch = Batches(pack, 0, cfg.label_dropout).at(0, 4)
    schedule, t = sf.NoiseSchedule.cosine().zero_terminal_snr(), on_steps(batch.fraction, 1000)
    alpha, sigma = (
        schedule.alpha(t).float()[:, None, None, None],
        schedule.sigma(t).float()[:, None, None, None],
    )
    output = network(alpha * batch.x0 + sigma * batch.noise, t, batch.labels)
    ((output - (alpha * batch.noise - sigma * batch.x0)) ** 2).mean().backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    stored = weights(tmp_path / "run")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(stored[f"weights/{name}"], value, rtol=1e-4, atol=1e-6)


def test_learning_rate_rises_stays_and_falls():
    cfg = TrainConfig(data="", out=None, pictures=1000, batch=10, warmup=100, cooldown=0.2, lr=1.0)  # type: ignore[arg-type]
    assert [round(learning_rate(cfg, seen), 6) for seen in (0, 40, 90, 500, 800, 900, 990)] == [
        0.1,
        0.5,
        1,
        1,
        1,
        0.5,
        0.05,
    ]
    assert learning_rate(replace(cfg, cooldown=0.0, warmup=0), 0) == 1


def test_edm_trains_on_inputs_and_targets_of_unit_scale(tmp_path, data):
    """σ reaches 80; the loss of a network that says nothing is that of a target of variance one."""
    schedule = ScheduleConfig("edm", 1000, zero_terminal_snr=False)
    train(config(data, tmp_path / "run", schedule=schedule, pictures=8), QUIET)
    loss = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])["loss"]
    assert 0.3 < loss < 2
    assert sf.load(tmp_path / "run").sample(2, steps=5).array.shape == (2, 8, 8, 3)


def test_nan_stops_the_run_names_the_batch_and_keeps_the_last_good_checkpoint(tmp_path, data, monkeypatch):
    out, honest, calls = tmp_path / "run", Objective._compared, [0]

    def failing(self, *args, **kwargs):
        calls[0] += 1
        return honest(self, *args, **kwargs) * (float("nan") if calls[0] == 6 else 1.0)

    monkeypatch.setattr(Objective, "_compared", failing)
    with pytest.raises(DivergedError, match=r"step after 20 pictures: loss nan") as caught:
        train(config(data, out, sample_every=24, log_every=40), QUIET)
    monkeypatch.undo()
    from sfumato.data.pack import read_pack
    from sfumato.training.batches import Batches

    index = Batches(read_pack(out / "data.safetensors"), 0).at(20, 4).pictures
    assert ", ".join(map(str, index)) in str(caught.value)
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["000000000012.safetensors", "latest"]
    assert all(value.isfinite().all() for value in weights(out).values())
    train(config(data, out, resume=True, sample_every=24, log_every=40, lr=5e-4), QUIET)


def test_a_full_disk_while_saving_is_told_and_loses_nothing(tmp_path, data):
    """A real one, as far as the writing process can tell: no file may grow beyond the limit."""
    out, old = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    train(config(data, out, pictures=12), QUIET)
    before = [(p.name, p.read_bytes()) for p in (out / "checkpoints").iterdir()]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[1]))
        with pytest.raises(SfumatoError, match=r"could not be written to at 24 pictures.*--resume"):
            train(config(data, out, resume=True), QUIET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert [(p.name, p.read_bytes()) for p in (out / "checkpoints").iterdir()] == before
    train(config(data, out, resume=True), QUIET)


def test_too_little_space_is_told_before_the_first_step(tmp_path, data, monkeypatch):
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("sfumato.files.shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(InputError, match="MB free"):
        train(config(data, tmp_path / "run"), QUIET)
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_an_unwritable_place_is_told(tmp_path, data):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        train(config(data, tmp_path / "file" / "run"), QUIET)


def test_sampling_within_a_run_does_not_change_it(tmp_path, data):
    for every in (0, 8):
        train(config(data, tmp_path / str(every), sample_every=every), QUIET)
    torch.testing.assert_close(weights(tmp_path / "8"), weights(tmp_path / "0"), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"accumulate": 3}, "cannot be split"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"label_dropout": 1.5}, "label_dropout is a share"),
        ({"warmup": -1}, "warmup cannot be negative"),
        ({"size": 9}, "multiple of 2"),
        ({"device": "warp"}, "device 'warp'"),
        ({"data": "emojy"}, "Did you mean 'emoji'"),
        ({"prediction": "eps"}, "zero terminal SNR"),
        ({"seed": 2**63}, "a seed is a whole number"),
        ({"weighting": "foo"}, "no loss weighting"),
        ({"precision": "fp8"}, "precision is auto"),
        ({"network": replace(NETWORK, out_channels=1)}, "network.out_channels is 1"),
        ({"network": replace(NETWORK, in_channels=1)}, "network.in_channels is 1"),
        ({"network": replace(NETWORK, labels=(5,))}, "network.labels is"),
        ({"schedule": ScheduleConfig("linear", 100, zero_terminal_snr=False)}, "ends at an SNR of 0.57"),
    ],
)
def test_bad_configs(tmp_path, data, changes, message):
    with pytest.raises(InputError, match=message):
        train(
            config(changes.get("data", data), tmp_path / "run", **{k: v for k, v in changes.items() if k != "data"}),
            QUIET,
        )
    assert not (tmp_path / "run" / "config.json").exists()  # the folder is free for another try


def test_other_predictions_and_one_channel(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 1), dtype=np.uint8)
    from sfumato.data.dataset import Dataset
    from sfumato.data.pack import write_pack

    write_pack(Dataset("grey", images, np.zeros((6, 0), np.int64)), tmp_path / "grey.safetensors")
    linear = ScheduleConfig("linear", 1000, zero_terminal_snr=False)
    for prediction in ("eps", "x0"):
        cfg = config(tmp_path / "grey.safetensors", tmp_path / prediction, prediction=prediction, schedule=linear)
        train(replace(cfg, weighting="min-snr"), QUIET)
        assert sf.load(tmp_path / prediction).sample(2).array.shape == (2, 8, 8, 1)
