import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import sfumato as sf
from factory import classifier, network, spec
from sfumato.errors import InputError
from sfumato.models.classifier import load_classifier_folder, save_classifier_folder
from sfumato.models.folder import save_folder


@pytest.fixture
def folder(tmp_path):
    judge = classifier()
    save_classifier_folder(tmp_path / "judge", judge.spec, judge.network.state_dict())
    return tmp_path / "judge"


def test_what_is_loaded_is_what_was_saved(folder):
    judge, again = classifier(), sf.load_classifier(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "classifier.json", "weights.safetensors"]
    for name in ("name", "network", "schedule", "size", "labels", "held_out", "chance", "accuracy"):
        assert getattr(again.spec, name) == getattr(judge.spec, name), name
    assert again.spec.weights is not None
    assert (again.spec.weights.which, again.spec.weights.dtype) == ("average", "float32")
    x = torch.randn(2, 3, 8, 8)
    for kind, other in zip(judge.logits(x, 0.5), again.logits(x, 0.5), strict=True):
        assert torch.equal(kind, other)


def test_the_card_says_how_well_it_does(folder):
    card = (folder / "README.md").read_text()
    for line in (
        "- schedule: cosine, 1000 steps, zero terminal SNR",
        "- group: food, animals",
        "Share right among 4 pictures that training kept back:",
        "| t | SNR | group | style |",
        "| 0.5 | 1 | 75.0% | 50.0% |",
        "| chance |  | 50.0% | 25.0% |",
    ):
        assert line in card.splitlines()


def test_a_kind_without_a_tested_picture_shows_a_dash():
    assert classifier(chance={"group": 0.5}, accuracy=()).spec.accuracy_table()[-1] == "| chance |  | 50.0% | – |"


def edit(folder, **changes):
    path = folder / "classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def poison(folder):
    tensors = load_file(folder / "weights.safetensors")
    tensors["enter.bias"].fill_(float("nan"))
    save_file(tensors, folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: edit(f, format=2), "format 2, but this version reads up to 1"),
        (lambda f: edit(f, surprise=1), "there is no 'surprise'"),
        (lambda f: edit(f, weights=None), "weights is missing"),
        (lambda f: edit(f, labels={"kinds": {}, "counts": [], "dropout": 0}), "a classifier needs labels"),
        (lambda f: edit(f, size=[7, 8]), "multiple of 2"),
        (lambda f: edit(f, accuracy=[{"t": 0.5}]), r"accuracy\[0\]: snr is missing"),
        (lambda f: (f / "weights.safetensors").unlink(), "no weights.safetensors"),
        (poison, "does not match the checksum in classifier.json: the two belong to different classifiers"),
        (lambda f: (f / "classifier.json").unlink(), "is no classifier folder: it has no classifier.json"),
    ],
)
def test_refuses_what_it_does_not_understand(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        load_classifier_folder(folder)


def test_a_model_and_a_classifier_are_not_taken_for_each_other(folder, tmp_path):
    save_folder(tmp_path / "model", spec(), network(spec()).state_dict(), "average")
    with pytest.raises(InputError, match=r"is no model folder: it has no model.json. It holds a classifier\."):
        sf.load(folder)
    with pytest.raises(InputError, match=r"is no classifier folder: .* It holds a model\."):
        sf.load_classifier(tmp_path / "model")
    with pytest.raises(InputError, match=r"there is no such folder\. To make one: sfumato train-classifier"):
        sf.load_classifier(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds 'model.json', which is no part of a classifier"):
        save_classifier_folder(tmp_path / "model", classifier().spec, classifier().network.state_dict())
