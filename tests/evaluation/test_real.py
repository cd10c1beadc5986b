from dataclasses import replace

import numpy as np
import pytest

from factory import spec
from measuring import dataset
from sfumato.data.dataset import Dataset
from sfumato.data.emoji import emoji
from sfumato.data.pack import write_pack
from sfumato.errors import InputError
from sfumato.evaluation.real import MOST_PICTURES, is_training, open_real, sides

FOOD = "emoji/food,noto"


def of(name, size=(32, 32), **facts):
    return spec(size=size, data={"name": name, **facts})


@pytest.fixture
def pack(tmp_path):
    """Squares of 8x8 in a file, and the data."""
    data = dataset(40)
    write_pack(data, tmp_path / "squares.safetensors")
    return str(tmp_path / "squares.safetensors"), data


def test_by_default_the_reference_is_what_it_was_trained_on_and_that_is_said():
    real = open_real(of(FOOD, fingerprint=emoji("food,noto").fingerprint))
    assert real.data.name == FOOD
    assert real.trained
    assert real.training is real.data
    assert real.held_out is None
    assert real.unlearned is real.data
    assert len(real.notes) == 1
    assert "trained on: a model that copies its pictures does best" in real.notes[0]


def test_the_other_part_of_a_known_split_is_held_out():
    real = open_real(of("emoji/food:train"))
    assert real.held_out is not None
    assert real.held_out.name == "emoji/food:held-out"
    assert real.unlearned is real.held_out


def test_training_pictures_are_known_by_their_fingerprint_under_another_name(pack):
    path, data = pack
    model = of("photos", (8, 8), fingerprint=data.fingerprint)
    assert open_real(model, path).trained
    assert is_training(data, model)
    assert not is_training(dataset(40, seed=1), model)
    assert is_training(replace(data, name="photos", labels=data.labels * 0), model)
    assert not is_training(data, spec(size=(8, 8)))


def test_pictures_that_are_training_pictures_are_counted_and_not_held_out(tmp_path):
    model = of(FOOD)
    mixed = emoji("food,fluent")
    mixed = replace(mixed, images=np.concatenate([emoji("food,noto").images[:3], mixed.images[3:]]))
    write_pack(mixed, tmp_path / "mixed.safetensors")
    real = open_real(model, str(tmp_path / "mixed.safetensors"), held_out=str(tmp_path / "mixed.safetensors"))
    assert not real.trained
    assert real.training is not None
    assert real.training.name == FOOD
    assert real.notes[0].startswith(f"3 of the {len(mixed)} pictures")
    assert real.held_out is not None
    assert len(real.held_out) == len(mixed) - 3
    assert any("as held-out pictures they are left out" in note for note in real.notes)
    none = open_real(model, held_out=FOOD)
    assert none.held_out is None


def test_training_data_that_is_not_at_hand(pack):
    path, _ = pack
    model = of("vanished", (8, 8), fingerprint="0" * 64)
    with pytest.raises(InputError, match=r"trained on cannot be opened: .* Name it with --data"):
        open_real(model)
    with pytest.raises(InputError, match="does not say what it was trained on"):
        open_real(spec(size=(8, 8)))
    real = open_real(model, path)
    assert real.training is None
    assert "nothing is told of memorisation" in real.notes[0]
    given = open_real(model, path, training=path)
    assert given.training is not None
    assert "not quite what the model was trained on" in " ".join(given.notes)


def test_pictures_are_brought_to_the_models_size(pack, tmp_path):
    for size in ((4, 4), (4, 8)):
        assert open_real(of("x", size), pack[0]).data.images.shape[1:] == (*size, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        open_real(of("x", (8, 8)), str(tmp_path / "empty"))


def test_two_sides_disjoint_and_fixed():
    data = dataset(60)
    both = sides(data, None)
    assert len(both.reference) == len(both.other) == 30
    assert not set(both.reference) & set(both.other)
    assert np.array_equal(sides(data, 25).reference, both.reference[:25])
    assert len(set(sides(data, 25).other) | set(sides(data, 25).reference)) == 50


def test_exactly_so_many_or_an_error():
    data = dataset(60)
    assert len(sides(data, 60).reference) == 60
    assert len(sides(data, 60).other) == len(sides(data, 31).other) == 0
    with pytest.raises(InputError, match="61 samples need 61 real pictures beside them, and squares has 60"):
        sides(data, 61)
    with pytest.raises(InputError, match="20 pictures on each side at least, not 5"):
        sides(data, 5)
    with pytest.raises(InputError, match="at least, not 15"):
        sides(dataset(30), None)
    large = Dataset("large", np.zeros((12_001, 1, 1, 1), np.uint8), np.zeros((12_001, 0), np.int64))
    assert len(sides(large, None).reference) == MOST_PICTURES
