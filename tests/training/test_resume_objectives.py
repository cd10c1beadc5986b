"""A resumed run is the uninterrupted one, to the byte, for every objective and average that has a state."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from factory import NETWORK, QUIET, config, pictures
from sfumato.diffusion.config import ScheduleConfig
from sfumato.training.averages import Averages
from sfumato.training.averages_config import AveragesConfig
from sfumato.training.loop import train
from sfumato.training.objective_config import ObjectiveConfig

TWO = ScheduleConfig("linear", 2, False, 0.9, 0.99)  # so few steps that importance has its losses early
KINDS = {
    "importance": {
        "schedule": TWO,
        "prediction": "eps",
        "weighting": "vlb",
        "objective": ObjectiveConfig(times="importance", variance="interpolated"),
    },
    "uncertainty": {
        "schedule": ScheduleConfig("edm", 1000, False),
        "prediction": "F",
        "objective": ObjectiveConfig(times="log-normal", uncertainty=True),
    },
    "self-conditioning": {
        "network": replace(NETWORK, dropout=0.1),
        "objective": ObjectiveConfig(self_conditioning=True, offset_noise=0.1, times="continuous"),
    },
    "averages": {"averages": AveragesConfig((8, 64), (0.05, 0.1), 8)},
    "bf16, parts, workers": {
        **{"precision": "bf16", "accumulate": 2, "workers": 4, "network": replace(NETWORK, dropout=0.1)}
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


class Cut(Exception):  # noqa: N818 (a power cut)
    pass


def outcome(out):
    files = {
        path.relative_to(out): load_file(path) for path in sorted(out.rglob("*.safetensors")) if path.parent != out
    }
    tensors = {
        str(path): {name: value.numpy().tobytes() for name, value in stored.items()} for path, stored in files.items()
    }
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return tensors, [(entry["pictures"], entry["loss"], entry["grad_norm"]) for entry in log]


@pytest.mark.parametrize("kind", KINDS)
def test_cut_off_and_resumed(tmp_path, data, kind):
    cfg = config(data, tmp_path / "whole", **{"checkpoint_every": 24, **KINDS[kind]})
    train(cfg, QUIET)
    left, honest = [8], Averages.update  # steps, the sixth of which was saved

    def update(self, *args):
        left[0] -= 1
        if not left[0]:
            raise Cut
        honest(self, *args)

    cut = replace(cfg, out=tmp_path / "cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Averages, "update", update)
        with pytest.raises(Cut):
            train(cut, QUIET)
    train(replace(cut, resume=True), QUIET)
    whole, resumed = outcome(cfg.out), outcome(cut.out)
    assert whole == resumed
    if kind == "importance":
        stored = load_file(cfg.out / "checkpoints" / "000000000024.safetensors")
        assert int(stored["objective/importance.heard"].min()) >= 10  # it did sample by importance after the cut
