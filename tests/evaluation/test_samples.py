import json

import numpy as np
import pytest

from factory import model as unsaved
from measuring import saved
from sfumato.errors import InputError
from sfumato.evaluation import samples as module
from sfumato.evaluation.samples import FILE, check_out, make_samples
from sfumato.evaluation.work import ordered
from sfumato.generation.request import Request


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(module, "PIECE", 4)


def make(model, folder, n, steps=2, seed=3, **options):
    return make_samples(*ordered(model, Request(steps), n, seed), folder, **options)


def listen(model, monkeypatch):
    """The seeds that it is asked for from now on."""
    asked, plain = [], type(model).start

    def start(self, seeds, *rest):
        asked.extend(seeds)
        return plain(self, seeds, *rest)

    monkeypatch.setattr(type(model), "start", start)
    return asked


@pytest.mark.parametrize("n", [1, 4, 7])
def test_exactly_so_many_pictures_and_those_of_their_seeds(model, tmp_path, n):
    told = []
    made = make(model, tmp_path / "s", n, batch=3, progress=told.append)
    pictures = np.concatenate([*made.pieces()])
    assert len(made) == len(pictures) == n == told[-1]
    assert np.array_equal(pictures, model.sample(n, seed=3, steps=2, batch=3).array)
    assert np.array_equal(made.take(np.array([n - 1, 0])), pictures[[n - 1, 0]])
    assert told == sorted(told)


def test_killed_halfway_it_goes_on(model, tmp_path, monkeypatch):
    whole = np.concatenate([*make(model, tmp_path / "whole", 10).pieces()])

    def stop(done):
        if done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(model, tmp_path / "s", 10, progress=stop)
    asked = []
    plain = type(model).start
    monkeypatch.setattr(
        type(model), "start", lambda self, seeds, *rest: asked.extend(seeds) or plain(self, seeds, *rest)
    )
    again = make(model, tmp_path / "s", 10)
    assert asked == [11, 12]  # of the seeds 3…12 those of the third file, and no others
    assert np.array_equal(np.concatenate([*again.pieces()]), whole)


def test_more_and_fewer_of_the_same_pictures(model, tmp_path, monkeypatch):
    first = np.concatenate([*make(model, tmp_path / "s", 6).pieces()])
    asked = []
    plain = type(model).start
    monkeypatch.setattr(
        type(model), "start", lambda self, seeds, *rest: asked.extend(seeds) or plain(self, seeds, *rest)
    )
    more = np.concatenate([*make(model, tmp_path / "s", 9).pieces()])
    assert asked == [9, 10, 11]  # the second file is filled up, the third is new
    assert np.array_equal(more[:6], first)
    assert np.array_equal(more, model.sample(9, seed=3, steps=2).array)
    fewer = make(model, tmp_path / "s", 5)
    assert [len(piece) for piece in fewer.pieces()] == [4, 1]


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "empty", "another"])
def test_a_damaged_file_is_made_anew(model, tmp_path, damage, caplog):
    made = make(model, tmp_path / "s", 8)
    before = np.concatenate([*made.pieces()])
    path = tmp_path / "s" / "0000004.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-5] ^= 1
    if damage == "gone":
        path.unlink()
    elif damage == "another":
        path.write_bytes((tmp_path / "s" / "0000000.safetensors").read_bytes()[:-1] + b"\0")
    else:
        path.write_bytes(b"" if damage == "empty" else content[:-9] if damage == "cut" else content)
    with pytest.raises(InputError, match="gone or damaged"):
        np.concatenate([*made.pieces()])
    assert np.array_equal(np.concatenate([*make(model, tmp_path / "s", 8).pieces()]), before)
    assert damage == "gone" or "made anew" in caplog.text


def test_a_file_of_other_pictures_does_not_pass(model, tmp_path):
    """Whole and unharmed, but made with another seed."""
    make(model, tmp_path / "other", 4, seed=50)
    make(model, tmp_path / "s", 4)
    (tmp_path / "s" / "0000000.safetensors").write_bytes((tmp_path / "other" / "0000000.safetensors").read_bytes())
    again = make(model, tmp_path / "s", 4)
    assert np.array_equal(again.take(np.arange(4)), model.sample(4, seed=3, steps=2).array)


def test_samples_made_otherwise_are_not_mixed_and_it_says_what_differs(model, tmp_path):
    make(model, tmp_path / "s", 4)
    before = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    with pytest.raises(InputError, match="made otherwise") as told:
        make(model, tmp_path / "s", 4, steps=3, seed=4)
    assert "steps: 2 there, 3 asked for" in str(told.value)
    assert "first_seed: 3 there, 4 asked for" in str(told.value)
    assert "weights" not in str(told.value)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}


def test_other_weights_are_other_samples(model, tmp_path):
    make(model, tmp_path / "s", 4)
    other = saved(tmp_path / "m", size=(16, 16))
    with pytest.raises(InputError, match=r"size: \[8, 8\] there, \[16, 16\] asked for"):
        make(other, tmp_path / "s", 4)


def test_a_folder_with_something_else_in_it(model, tmp_path):
    (tmp_path / "cat.jpg").write_text("")
    for check in (lambda: check_out(tmp_path, "samples"), lambda: make(model, tmp_path, 2)):
        with pytest.raises(InputError, match=r"holds something else \(cat.jpg"):
            check()
    (tmp_path / "samples").mkdir()
    check_out(tmp_path, "samples")
    with pytest.raises(InputError, match="Not a directory"):
        make(model, tmp_path / "cat.jpg" / "s", 2)


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, '{"format": 99}'])
def test_a_description_that_says_nothing(model, tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=r"cannot be read|says nothing of samples|made otherwise"):
        make(model, tmp_path, 2)
    assert (tmp_path / FILE).read_text() == content


def test_the_description_is_for_people(model, tmp_path):
    make(model, tmp_path / "s", 2)
    facts = json.loads((tmp_path / "s" / FILE).read_text())
    assert (facts["model"], facts["solver"], facts["steps"], facts["first_seed"]) == ("tiny", "unipc-2", 2, 3)
    assert facts["weights_sha256"] == model.spec.weights.sha256
    assert facts["labels"] == "as in the training data"


def test_weights_that_were_never_saved_have_no_name(tmp_path):
    with pytest.raises(InputError, match="never saved"):
        make(unsaved(), tmp_path / "s", 2)
    assert not (tmp_path / "s").exists()
