import numpy as np
import pytest
import torch

from sfumato.data.dataset import Dataset
from sfumato.scaling import to_unit
from sfumato.training.batches import Batches
from sfumato.training.times import on_steps


def data(count=10):
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 4, 3), np.uint8)
    images[:, :, 0] = 255  # a left edge, to see mirroring
    labels = np.stack([np.arange(count) % 3, np.arange(count) % 2], 1).astype(np.int64)
    return Dataset("d", images, labels, {"a": ("x", "y", "z"), "b": ("p", "q")})


@pytest.mark.parametrize("cuts", [[25], [1] * 25, [10, 15], [7, 7, 7, 4]])
def test_how_pictures_are_grouped_changes_nothing(cuts):
    make = lambda: Batches(data(), seed=3, label_dropout=0.3, flip=True)  # noqa: E731
    whole, seen, parts = make().at(0, 25), 0, []
    for cut in cuts:
        parts.append(make().at(seen, cut))
        seen += cut
    assert np.array_equal(whole.pictures, np.concatenate([p.pictures for p in parts]))
    for name in ("x0", "labels", "noise"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(p, name) for p in parts])), name
    for name in ("fraction", "guessed"):
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(p, name) for p in parts])), name


def test_every_epoch_shows_every_picture_once_in_a_new_order():
    batches = Batches(data(), seed=1)
    first, second = batches.at(0, 10).pictures, batches.at(10, 10).pictures
    assert sorted(first) == sorted(second) == list(range(10))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, Batches(data(), seed=2).at(0, 10).pictures)


def test_pictures_labels_and_range_belong_together():
    batch = Batches(data(), seed=1).at(0, 10)
    assert torch.equal(batch.labels, torch.from_numpy(data().labels[batch.pictures]))
    assert torch.equal(batch.x0, to_unit(data().images[batch.pictures]))
    assert to_unit(np.array([[[[0], [255]]]], np.uint8)).flatten().tolist() == [-1, 1]


def test_times_are_the_trained_steps_evenly():
    batches = Batches(data(), seed=1)
    for start in (0, 1234):
        t = on_steps(batches.at(start, 800).fraction, 8).numpy() * 8
        values, counts = np.unique(t, return_counts=True)
        assert values.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
        assert counts.min() >= 98  # far more even than chance, whose standard deviation is 9
        assert counts.max() <= 102


def test_noise_is_fresh_for_every_picture_shown():
    batches = Batches(data(), seed=1)
    noise = batches.at(0, 20).noise
    assert len(torch.unique(noise.flatten(1), dim=0)) == 20


def test_label_dropout_drops_all_together_and_each_alone():
    labels = torch.cat([Batches(data(), 1, label_dropout=0.2).at(n, 500).labels for n in range(0, 8000, 500)])
    dropped = labels == -1
    both = dropped.all(1).float().mean().item()
    assert both == pytest.approx(0.2 + 0.8 * 0.04, abs=0.02)
    for kind in range(2):
        assert dropped[:, kind].float().mean().item() == pytest.approx(0.2 + 0.8 * 0.2, abs=0.02)
    assert not (Batches(data(), 1).at(0, 1000).labels == -1).any()


def test_with_one_kind_of_label_dropout_is_what_it_says():
    one = Dataset("d", data().images, data().labels[:, :1], {"a": ("x", "y", "z")})
    labels = torch.cat([Batches(one, 1, label_dropout=0.2).at(n, 500).labels for n in range(0, 8000, 500)])
    assert (labels == -1).float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_flips_half_and_only_where_asked():
    kept = data()
    before = kept.images.copy()
    left = lambda flip: (Batches(kept, 1, flip=flip).at(0, 2000).x0[:, 0, 0, 0] == 1).float().mean().item()  # noqa: E731
    assert left(False) == 1
    assert left(True) == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(kept.images, before)
