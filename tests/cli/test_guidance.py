"""The road from `train-classifier` to a guided `sample`, and what is said on the way."""

import json

import numpy as np
import pytest
from PIL import Image

from factory import NETWORK, classifier, network, pictures, spec, texts_of
from sfumato.cli.main import main
from sfumato.conditioning.labels import LabelSet
from sfumato.models.classifier import save_classifier_folder
from sfumato.models.folder import save_folder


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def judge(tmp_path):
    made = classifier()
    save_classifier_folder(tmp_path / "judge", made.spec, made.network.state_dict())
    return tmp_path / "judge"


def test_train_a_classifier_and_sample_with_it(tmp_path, capsys):
    bare = spec(labels=LabelSet(), network=NETWORK)
    save_folder(tmp_path / "m", bare, network(bare).state_dict(), "average")
    words = ["--data", pictures(tmp_path / "photos", 20), "--out", tmp_path / "c", "--model", tmp_path / "m"]
    words += ["--pictures", 16, "--batch", 8, "--device", "cpu", "--network.channels", 8, "--network.groups", 4]
    words += ["--network.multipliers", 1, 2, "--network.attention-levels", 1, "--network.head-channels", 8]
    assert run("train-classifier", *words) == 0
    said = capsys.readouterr().out
    assert "Share right among 2 pictures kept back, at time t:" in said
    assert "| t | SNR | class |" in said
    assert f"classifier: {tmp_path / 'c'}" in said
    assert run("train-classifier", *words) == 2
    assert "already holds a classifier" in capsys.readouterr().err
    out = tmp_path / "o"
    steer = ("--classifier", tmp_path / "c", "--classifier-scale", 3, "--label", "red")
    assert run("sample", tmp_path / "m", "--n", 2, "--out", out, *steer) == 0
    assert "(classifier photos classifier with scale 3)" in capsys.readouterr().out
    facts = json.loads(texts_of(out / "0000.png")["sfumato"])
    assert (facts["label"], facts["classifier_scale"]) == (["class=red"], 3)


def test_every_kind_of_guidance_reaches_the_pictures(model, judge, tmp_path, capsys):
    def sample(*words):
        assert run("sample", model, "--n", 1, "--label", "food", "--out", tmp_path / "o", *words) == 0
        with Image.open(tmp_path / "o" / "0000.png") as picture:
            return np.asarray(picture).tobytes(), capsys.readouterr().out

    weak = spec(name="weak")
    save_folder(tmp_path / "weak", weak, {k: 0.9 * v for k, v in network(weak).state_dict().items()}, "raw")
    w = ("--guidance-scale", 6)
    results = {
        "": sample(*w),
        "away from animals, flat": sample(*w, "--negative", "animals", "flat"),
        "for times from 0.2 to 0.6": sample(*w, "--guidance-interval", 0.2, 0.6),
        "rescaled by 0.7": sample(*w, "--guidance-rescale", 0.7),
        "away from the weaker model weak": sample(*w, "--weak", tmp_path / "weak"),
        "classifier judge with scale 1": sample(*w, "--classifier", judge),
    }
    for words, (_, said) in results.items():
        assert f"guidance scale 6{f' ({words})' if words else ''}, average weights" in said
    shown = [*(pixels for pixels, _ in results.values()), sample(*w, "--dynamic-threshold", 100)[0]]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--negative", "fod"], "Did you mean 'food'"),
        (["--guidance-interval", "0.9", "0.1"], "a guidance interval is two times"),
        (["--guidance-rescale", "2"], "guidance_rescale lies between 0"),
        (["--dynamic-threshold", "0.9"], "A share of 0.9 is a percentile of 90"),
        (["--weak", "nowhere"], "no model 'nowhere'"),
        (["--classifier", "nowhere"], "no classifier 'nowhere'"),
        (["--classifier-scale", "2"], "but no classifier"),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(model, tmp_path, capsys, words, message):
    out = tmp_path / "o"
    assert run("sample", model, "--out", out, "--label", "animals", *words) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
