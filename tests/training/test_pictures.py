"""However a run is given its pictures, and by however many threads: the same run, to the byte, killed or not."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file

import sfumato as sf
from autoencoders import config as autoencoder_config
from factory import QUIET, config
from sfumato.data import on_demand
from sfumato.data.folder import folder_source
from sfumato.data.framing import Framing
from sfumato.data.on_demand import OnDemand
from sfumato.data.shaped import Shaped
from sfumato.errors import InputError
from sfumato.training import autoencoder_folder
from sfumato.training.autoencoder import train_autoencoder
from sfumato.training.averages import Averages
from sfumato.training.batches import Batches
from sfumato.training.loop import train
from sfumato.training.objective import Objective
from sfumato.training.pictures import open_packed
from sfumato.training.steps import parts

SHAPES = ((20, 12), (12, 20), (16, 16))  # width, height
KINDS = {
    "packed": {"framing": "pad"},
    "on demand": {"read": "on-demand", "framing": "random", "flip": True},
    "wide": {"size": "16x8", "read": "on-demand", "framing": "stretch"},
    "buckets": {"size": 16, "read": "on-demand", "buckets": True},
}


def photos(folder: Path, count: int = 17, torn: tuple[int, ...] = ()) -> Path:
    """Picture i is of the shape i % 3; those torn have a header and nothing to show."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / ("red" if i % 2 else "blue") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = SHAPES[i % 3]
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
        if i in torn:
            path.write_bytes(path.read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos"), torn=(5,))


class Cut(Exception):  # noqa: N818 (a power cut)
    pass


def outcome(out: Path):
    """Weights, averages and optimizer, the model, and the log but for its timings."""
    last = sorted((out / "checkpoints").glob("*.safetensors"))[-1]
    tensors = {name: value.numpy().tobytes() for name, value in load_file(last).items()}
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    facts = [(e["pictures"], e["loss"], e["grad_norm"]) for e in log]
    return last.name, tensors, (out / "model" / "weights.safetensors").read_bytes(), facts


@pytest.mark.parametrize("kind", KINDS)
def test_workers_and_a_power_cut_change_nothing(tmp_path: Path, data: Path, kind: str) -> None:
    cfg = config(data, tmp_path / "whole", **{"accumulate": 2, "pictures": 22, **KINDS[kind]})
    train(cfg, QUIET)
    left, honest, threads = [5], Averages.update, threading.active_count()

    def update(self, *args):
        left[0] -= 1
        if not left[0]:
            raise Cut
        honest(self, *args)

    cut = replace(cfg, out=tmp_path / "cut", workers=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Averages, "update", update)
        with pytest.raises(Cut):
            train(cut, QUIET)
    train(replace(cut, workers=1, resume=True), QUIET)
    assert outcome(cut.out) == outcome(cfg.out)
    assert threading.active_count() == threads


def batches_of(data: Path, kind: str, seed: int, batch: int) -> Batches:
    live = OnDemand(folder_source(data), Framing.of(8, "random"))
    return Batches(live, seed, 0.3, True, shaped=Shaped(live, 2, batch, seed) if kind == "buckets" else None)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**63 - 1),
    batch=st.integers(1, 9),
    most=st.integers(1, 3),
    workers=st.sampled_from([0, 1, 4]),
    kind=st.sampled_from(["on demand", "buckets"]),
)
def test_an_epoch_shows_every_picture_once(
    whole: Path, seed: int, batch: int, most: int, workers: int, kind: str
) -> None:
    """Of one shape each, pictures that do not fill a batch wait for the next epoch: none is shown twice more often."""
    batches, count = batches_of(whole, kind, seed, batch), 17 * (batch if kind == "buckets" else 3)
    shown = np.concatenate([b.pictures for b in batches.ahead(parts(0, count, batch, most), workers)])
    if kind == "buckets":
        assert np.bincount(shown, minlength=17).tolist() == [batch] * 17
    else:
        assert np.sort(shown.reshape(3, 17)).tolist() == [list(range(17))] * 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("kind", ["on demand", "buckets"])
def test_batches_are_the_same_for_any_number_of_workers(data: Path, kind: str) -> None:
    cut = list(parts(0, 50, 6, 2))
    alone = [batches_of(data, kind, 3, 6).at(*part) for part in cut]
    for workers in (0, 1, 4):
        for one, two in zip(batches_of(data, kind, 3, 6).ahead(cut, workers), alone, strict=True):
            for name in ("pictures", "x0", "labels", "fraction", "noise", "guessed"):
                assert np.array_equal(getattr(one, name), getattr(two, name)), name


def test_what_the_network_sees_is_a_permutation_of_the_data_in_every_epoch(tmp_path: Path, data: Path) -> None:
    """In a run with a resume in the middle, on steps and parts that divide nothing."""
    seen: list[int] = []
    honest = Objective.forward

    def looking(self, predict, batch, *more):
        seen.extend(batch.pictures.tolist())
        return honest(self, predict, batch, *more)

    cfg = config(photos(tmp_path / "photos", 10), tmp_path / "run", batch=4, accumulate=4, pictures=14, workers=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "forward", looking)
        train(cfg, QUIET)
        train(replace(cfg, pictures=30, resume=True), QUIET)
    assert [sorted(seen[10 * e : 10 * e + 10]) for e in range(3)] == [list(range(10))] * 3
    assert len({tuple(seen[10 * e : 10 * e + 10]) for e in range(3)}) == 3


@pytest.mark.parametrize("workers", [0, 4])
def test_nothing_is_decoded_but_what_is_shown(whole: Path, monkeypatch, workers: int) -> None:
    asked, honest, lock = [], on_demand.decoded, threading.Lock()

    def counting(source, i, *rest):
        with lock:
            asked.append(i)
        return honest(source, i, *rest)

    monkeypatch.setattr(on_demand, "decoded", counting)
    shown = [b.pictures for b in batches_of(whole, "on demand", 0, 2).ahead(parts(4, 15, 2, 1), workers)]
    assert sorted(asked) == sorted(np.concatenate(shown).tolist())
    assert len(asked) == 11


def stopped_by_bad_pictures(tmp_path: Path, where: Path, workers: int) -> tuple[str, list]:
    cfg = config(where, tmp_path / str(workers), read="on-demand", max_bad=0.12, batch=2, log_every=2, workers=workers)
    with pytest.raises(InputError, match="3 of 17 pictures") as caught:
        train(cfg, QUIET)
    log = [json.loads(line) for line in (cfg.out / "log.jsonl").read_text().splitlines()]
    return str(caught.value), [(entry["pictures"], entry["loss"], entry.get("unreadable", 0)) for entry in log]


def test_too_many_bad_pictures_stop_every_run_at_the_same_step(tmp_path: Path) -> None:
    """2 of 17 are tolerable (0.12); the third stops the run when its turn comes, however far threads are ahead."""
    where = photos(tmp_path / "photos", torn=(1, 2, 4, 8))
    message, log = stopped_by_bad_pictures(tmp_path, where, 0)
    assert message.count(".png: cannot be decoded") == 3
    assert [pictures for pictures, _, _ in log] == [2 * (n + 1) for n in range(len(log))]
    assert 1 <= len(log) < 8
    assert log[-1][2] == 2
    for workers in (1, 4):
        assert stopped_by_bad_pictures(tmp_path, where, workers) == (message, log)


def test_bad_pictures_are_told_at_the_end_and_in_the_log(tmp_path: Path, data: Path) -> None:
    said, cfg = io.StringIO(), config(data, tmp_path / "run", read="on-demand")
    train(cfg, Console(file=said, width=300))
    assert "1 left out because they cannot be read:\n  red/05.png: cannot be decoded" in said.getvalue()
    log = [json.loads(line) for line in (cfg.out / "log.jsonl").read_text().splitlines()]
    assert log[-1]["unreadable"] == 1
    assert not (cfg.out / "data.safetensors").exists()
    facts = json.loads((cfg.out / "model" / "model.json").read_text())["data"]
    assert facts["count"] == 17
    assert "fingerprint" not in facts  # that of pixels, which were never all there


@pytest.mark.parametrize("kind", ["on demand", "buckets"])
def test_changed_files_are_another_run(tmp_path: Path, kind: str) -> None:
    where = photos(tmp_path / "photos", 6)
    cfg = config(where, tmp_path / "run", pictures=12, batch=2, **KINDS[kind])
    train(cfg, QUIET)
    train(replace(cfg, resume=True, pictures=14, workers=1, max_bad=0.5), QUIET)
    Image.new("RGB", (16, 16)).save(where / "red" / "01.png")  # all of one colour: fewer bytes
    with pytest.raises(InputError, match="fingerprint differs"):
        train(replace(cfg, resume=True, pictures=16), QUIET)


def test_captions_and_runs_without_labels_go_with_it(tmp_path: Path) -> None:
    where = photos(tmp_path / "photos", 6)
    rows = [{"file_name": str(p.relative_to(where)), "text": "a cat"} for p in sorted(where.rglob("*.png"))]
    told = config(where, tmp_path / "told", pictures=4, read="on-demand", unlabelled=True)
    train(told, QUIET)
    assert sf.load(told.out).spec.labels.kinds == {}
    (where / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    small = {"text": "words", "text_length": 4, "text_features": 8, "pictures": 4}
    train(config(where, tmp_path / "text", read="on-demand", **small), QUIET)
    assert sf.load(tmp_path / "text").sample(1, prompt="cat", steps=1).array.shape == (1, 8, 8, 3)


@pytest.mark.parametrize("kind", ["wide", "buckets"])
def test_a_model_makes_pictures_of_the_size_of_the_run_and_of_others(tmp_path: Path, data: Path, kind: str) -> None:
    cfg = config(data, tmp_path / "run", pictures=8, sample_every=8, **KINDS[kind])
    train(cfg, QUIET)
    model, size = sf.load(cfg.out), (8, 16) if kind == "wide" else (16, 16)
    assert model.spec.size == size
    assert model.sample(1, steps=1).array.shape == (1, *size, 3)
    with Image.open(cfg.out / "samples" / "000000000008.png") as sheet:
        assert sheet.size == (5 * (size[1] + 2) + 2, 5 * (size[0] + 2) + 2)
    for height, width in ((12, 20), (20, 12)):
        assert model.sample(1, steps=1, size=(height, width)).array.shape == (1, height, width, 3)


def test_a_square_has_one_name_and_other_sizes_one_too(data: Path, tmp_path: Path) -> None:
    assert config(data, tmp_path, size="8x8") == config(data, tmp_path, size="8") == config(data, tmp_path, size=8)
    assert config(data, tmp_path, size="016X8").size == "16x8"
    assert config(data, tmp_path, size="16x8").picture_size == (8, 16)
    for size, message in (("16x9", "height of 9"), ("9x16", "width of 9"), (0, "write WIDTHx"), ("8x", "write WIDTHx")):
        with pytest.raises(InputError, match=message):
            config(data, tmp_path, size=size)
    with pytest.raises(InputError, match="write WIDTHx"):
        config(data, tmp_path, size=(8, 16))


def test_packs_are_framed_as_asked(tmp_path: Path, data: Path) -> None:
    for framing in ("crop", "pad", "stretch", "random"):
        said: list[str] = []
        pack = open_packed(config(data, tmp_path / framing, size="16x8", framing=framing, seed=3), said.append)
        assert "red/05.png: cannot be decoded" in said[0]
        assert said[1] == f"{data.name}: 16 pictures of 16x8"
        live = OnDemand(folder_source(data), Framing((8, 16), framing, seed=3))
        good = [i for i in range(17) if i not in live.fetch(np.arange(17), range(17)).unreadable]
        assert np.array_equal(pack.images, live.fetch(np.array(good), good).images)


def test_an_autoencoder_of_another_shape_than_a_square(tmp_path: Path, data: Path, monkeypatch) -> None:
    monkeypatch.setattr(autoencoder_folder, "installed_features", lambda device: None)
    cfg = autoencoder_config(data, tmp_path / "a", size="16x8", pictures=24, sample_every=8, workers=3)
    train_autoencoder(cfg, QUIET)
    spec = sf.load_autoencoder(cfg.out).spec
    assert spec.size == (8, 16)
    alone = replace(cfg, out=tmp_path / "b", workers=0)
    train_autoencoder(alone, QUIET)
    assert (cfg.out / "model" / "weights.safetensors").read_bytes() == (
        alone.out / "model" / "weights.safetensors"
    ).read_bytes()
    latent = config(data, tmp_path / "l", size="16x8", autoencoder=cfg.out, pictures=4)
    train(latent, QUIET)
    assert sf.load(latent.out).sample(1, steps=1).array.shape == (1, 8, 16, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"buckets": True}, "add --read on-demand"),
        ({"read": "on-demand", "autoencoder": Path("a")}, "--read packed"),
        ({"read": "on-demand", "data": "emoji/food"}, "emoji/food is decoded already"),
        ({"framing": "pad", "data": "emoji/food", "size": 32}, "for pictures in files, not for emoji/food"),
        ({"max_bad": 2.0}, "a share from 0 to 1"),
        ({"read": "sometimes"}, "read is packed or on-demand"),
        ({"framing": "squash"}, "crop, pad, stretch"),
    ],
)
def test_what_does_not_go_together_is_told(tmp_path: Path, data: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(config(**{"data": data, "out": tmp_path / "run", **changes}), QUIET)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("ranks", [2, 3])
def test_all_ranks_show_one_shape_at_a_time_and_together_the_batch(whole: Path, ranks: int) -> None:
    """Batches of 7 in up to two parts, of which none is the same for all ranks; the last step has one picture."""
    alone = list(batches_of(whole, "buckets", 3, 7).ahead(parts(0, 36, 7, 1), 0))
    shares = [list(parts(0, 36, 7, 2, rank, ranks)) for rank in range(ranks)]
    batches = batches_of(whole, "buckets", 3, 7)
    for first, batch in zip(range(0, 36, 7), alone, strict=True):
        mine = [part for share in shares for part in share if first <= part.first < first + 7]
        shown = [batches.at(*part) for part in sorted(mine) if part.count]
        assert {part.x0.shape[1:] for part in shown} == {batch.x0.shape[1:]}
        assert np.array_equal(np.concatenate([part.pictures for part in shown]), batch.pictures)
