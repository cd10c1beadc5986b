import pytest

import towers
from sfumato.errors import InputError
from sfumato.evaluation.extractors.open import open_extractor


def test_the_default():
    assert open_extractor().name == open_extractor("efficientnet-lite0", "auto").name == "EffNetLite0"


def test_a_word_and_a_folder(tmp_path, monkeypatch):
    towers.dinov2(tmp_path / "a=b")
    assert open_extractor(f"dinov2={tmp_path}/a=b").name == "DINOv2-16x2/14"
    towers.clip(tmp_path / "clip")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_extractor("clip=~/clip").name == "CLIP-16x2/14@28px"


@pytest.mark.parametrize("word", ["inception", "onnx"])
def test_a_word_and_a_file(tmp_path, word):
    with pytest.raises(InputError, match=r"none\.bin"):
        open_extractor(f"{word}={tmp_path}/none.bin")


@pytest.mark.parametrize("spec", ["inception", "inception="])
def test_a_word_without_its_file(spec):
    with pytest.raises(InputError, match="'inception' needs a file or folder of yours: inception=FILE"):
        open_extractor(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("efficientnet", "Did you mean 'efficientnet-lite0'"),
        ("incption=file.pth", "Did you mean 'inception=FILE'"),
        ("DINOv2=folder", "Did you mean 'dinov2=FOLDER'"),
        ("lpips", r"Known: efficientnet-lite0, inception=FILE, dinov2=FOLDER, clip=FOLDER, onnx=FILE\."),
        ("efficientnet-lite0=file", "there is no extractor"),
        ("", "there is no extractor ''"),
    ],
)
def test_an_unknown_word(spec, message):
    with pytest.raises(InputError, match=message):
        open_extractor(spec)


def test_a_device_that_is_not_there():
    with pytest.raises(InputError, match="device 'abacus' cannot be used here"):
        open_extractor(device="abacus")
