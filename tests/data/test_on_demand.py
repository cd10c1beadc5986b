"""Pictures decoded when they are asked for equal those decoded beforehand, and bad ones are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pictures import encoded, levels, zipped
from sfumato.data.folder import folder_source
from sfumato.data.framing import Framing
from sfumato.data.on_demand import OnDemand
from sfumato.data.pack import pack_source, read_pack, verify_pack, write_pack
from sfumato.data.reading import read_source
from sfumato.data.source import Source
from sfumato.data.workers import in_order
from sfumato.data.zipped import zip_source
from sfumato.errors import InputError
from sfumato.images import decode, fit, hasten
from sfumato.training.batches import Batches


def source(tmp_path: Path, count: int = 20, bad: tuple[int, ...] = (), captions: bool = False) -> Source:
    files = {f"{i % 3}/{i:02}.png": b"x" if i in bad else encoded(10 * i, (9 + i, 30 - i)) for i in range(count)}
    rows = "".join(f'{{"file_name": "{name}", "text": "größer {i}"}}\n' for i, name in enumerate(files))
    return zip_source(zipped(tmp_path / "a.zip", files | ({"metadata.jsonl": rows.encode()} if captions else {})))


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("captions", [False, True])
@pytest.mark.parametrize("bad", [(), (0, 7)])
def test_a_streamed_pack_is_the_pack_of_what_was_read(
    tmp_path: Path, workers: int, captions: bool, bad: tuple[int, ...]
) -> None:
    where, framing = source(tmp_path, bad=bad, captions=captions), Framing((6, 10))
    dataset, report = read_source(where, framing)
    write_pack(dataset, tmp_path / "read.safetensors")
    assert pack_source(where, tmp_path / "p.safetensors", framing, workers=workers) == report
    assert len(report.bad) == len(bad)
    one, two = verify_pack(tmp_path / "p.safetensors"), read_pack(tmp_path / "read.safetensors")
    assert one.fingerprint == two.fingerprint == dataset.fingerprint
    assert (one.captions, one.kinds, one.source) == (two.captions, two.kinds, two.source)
    if not bad:
        assert (tmp_path / "p.safetensors").read_bytes() == (tmp_path / "read.safetensors").read_bytes()


def test_too_many_bad_pictures_stop_the_packing_and_leave_nothing(tmp_path: Path) -> None:
    where = source(tmp_path, bad=(3, 4, 9, 15))
    with pytest.raises(InputError, match=r"3 of 20 pictures in .*a\.zip cannot be read(.|\n)*data check"):
        pack_source(where, tmp_path / "p.safetensors", Framing.of(8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert len(pack_source(where, tmp_path / "p.safetensors", Framing.of(8), max_bad=0.2).bad) == 4


@pytest.mark.parametrize("how", ["crop", "pad"])
def test_takes_what_reading_reads(tmp_path: Path, how) -> None:
    where, framing = source(tmp_path), Framing((6, 10), how)
    dataset, _ = read_source(where, framing)
    live, index = OnDemand(where, framing), np.array([5, 0, 19, 5])
    taken, images = live.take(index, [0, 1, 2, 3])
    assert np.array_equal(taken, index)
    assert np.array_equal(images, dataset.fetch(index, [0, 1, 2, 3]).images)
    assert live.shape == dataset.shape == (6, 10, 3)
    assert np.array_equal(live.labels, dataset.labels)
    assert live.text_fingerprint == dataset.text_fingerprint
    assert live.take(index, [0, 1, 2, 3], (8, 4))[1].shape == (4, 8, 4, 3)


def test_the_next_good_picture_stands_in_for_a_bad_one(tmp_path: Path) -> None:
    live = OnDemand(source(tmp_path, bad=(6, 19)), Framing.of(8))
    names = list(live._source.names)
    bad = [names.index("0/06.png"), names.index("1/19.png")]
    taken, images = live.take(np.array([*bad, bad[0], 3]), range(4))
    assert taken.tolist() == [(bad[0] + 1) % 20, (bad[1] + 1) % 20, (bad[0] + 1) % 20, 3]
    assert levels(images) == [10 * int(names[i][2:4]) for i in taken]
    assert set(live.quota.bad) == set(bad)  # each counts once


def test_too_many_bad_pictures_stop_a_training_and_are_named(tmp_path: Path) -> None:
    live = OnDemand(source(tmp_path, bad=(6, 12, 19)), Framing.of(8))
    with pytest.raises(InputError, match=r"3 of 20 .*(.|\n)*06\.png: not a picture(.|\n)*19\.png"):
        live.take(np.arange(20), range(20))
    with pytest.raises(InputError, match=r"not one picture can be read; 00\.png: not a picture"):
        OnDemand(source(tmp_path, 1, bad=(0,)), Framing.of(8)).take(np.array([0]), [0])


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_workers_and_batches_change_nothing(tmp_path: Path, workers: int) -> None:
    """Random crops included: they belong to the number of the picture in the run."""
    where = source(tmp_path, bad=(2,))
    alone = [OnDemand(where, Framing.of(8, "random")).take(np.array([n % 20]), [n])[1][0] for n in range(60)]
    live = OnDemand(where, Framing.of(8, "random"))
    starts = range(0, 60, 4)
    batches = in_order(lambda n: live.take(np.arange(n, n + 4) % 20, range(n, n + 4))[1], starts, workers)
    assert np.array_equal(np.concatenate(list(batches)), np.stack(alone))


def test_fingerprint_knows_sizes_labels_and_framing(tmp_path: Path) -> None:
    base = OnDemand(source(tmp_path), Framing.of(8)).fingerprint
    assert OnDemand(source(tmp_path), Framing.of(8)).fingerprint == base
    assert OnDemand(source(tmp_path), Framing.of(16)).fingerprint != base
    assert OnDemand(source(tmp_path), Framing.of(8, "pad")).fingerprint != base
    assert OnDemand(source(tmp_path, 19), Framing.of(8)).fingerprint != base
    assert OnDemand(source(tmp_path, bad=(3,)), Framing.of(8)).fingerprint != base


def test_in_order_begins_only_a_few_items_ahead() -> None:
    begun = []
    results = in_order(lambda i: begun.append(i) or i, iter(range(10**9)), 2)
    assert [next(results) for _ in range(5)] == list(range(5))
    results.close()  # type: ignore
    assert len(begun) <= 5 + 8


def test_large_jpegs_are_decoded_smaller_and_look_the_same(tmp_path: Path) -> None:
    down, right = np.mgrid[0:800, 0:1200]
    waves = 128 + 60 * np.sin(down / 40) + 60 * np.sin(right / 60 + 1)
    Image.fromarray(np.clip(waves, 0, 255).astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    where, full = folder_source(tmp_path), fit(decode(tmp_path / "a.jpg"), 32).astype(int)
    with where.opened(0) as image:
        hasten(image, (32, 32))
        assert min(image.size) == 100  # 1/8 of 800; at least three times 32
    for size in (32, 34, 100, 800):
        quick = OnDemand(where, Framing.of(size)).take(np.array([0]), [0])[1][0].astype(int)
        exact = fit(decode(tmp_path / "a.jpg"), size).astype(int)
        assert np.abs(quick - exact).max() <= (3 if size < 267 else 0)
    assert np.ptp(full) > 200
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-400])
    with pytest.raises(InputError, match="truncated"):
        OnDemand(where, Framing.of(32)).take(np.array([0]), [0])


@pytest.mark.parametrize("flip", [False, True])
def test_training_sees_the_same_batches_either_way(tmp_path: Path, flip: bool) -> None:
    where, framing = source(tmp_path, captions=True), Framing.of(8)
    here = Batches(read_source(where, framing)[0], 3, 0.5, flip)
    there = Batches(OnDemand(where, framing), 3, 0.5, flip)
    for seen, count in ((0, 7), (15, 10)):  # the second goes over the end of an epoch
        one, two = here.at(seen, count), there.at(seen, count)
        assert torch.equal(one.x0, two.x0)
        assert torch.equal(one.labels, two.labels)
        assert torch.equal(one.noise, two.noise)
        assert np.array_equal(one.pictures, two.pictures)
        assert np.array_equal(one.fraction, two.fraction)
        assert (one.texts, one.unreadable) == (two.texts, {})


def test_labels_follow_a_picture_that_stands_in(tmp_path: Path) -> None:
    where = source(tmp_path, bad=(6,))
    batch = Batches(OnDemand(where, Framing.of(8)), 0).at(0, 20)
    assert batch.labels.tolist() == where.labels[batch.pictures].tolist()
    assert list(where.names).index("0/06.png") not in batch.pictures
