"""Files of others: read whole, or refused by name; nothing in them is ever run."""

import json
import pickle
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from foreign import same_tensors
from sfumato.errors import InputError
from sfumato.models.convert.checkpoint import read_checkpoint, read_component

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def file(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def header(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def test_safetensors(file):
    assert same_tensors(read_checkpoint(file), TENSORS)


def test_a_truncated_file_is_named_wherever_it_ends(file, tmp_path):
    whole = file.read_bytes()
    for length in {0, 1, 7, 8, 9, len(whole) // 2, len(whole) - 1}:
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.safetensors is not a whole safetensors file: .*Fetch it again"):
            read_checkpoint(cut)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**62) + b"{}",
        header("[]"),
        header('{"a": 3}'),
        header('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}') + b"abcd",
        header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}}') + b"abcd" * 3,
        header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}') + b"abcd",
        header('{"a": {"dtype": "F33", "shape": [1], "data_offsets": [0, 4]}}') + b"abcd",
        header('{"a": {"dtype": "F32", "shape": [4611686018427387904, 8], "data_offsets": [0, 0]}}'),
        header("{" * 5000),
    ],
)
def test_a_hostile_header_is_an_error_of_input(tmp_path, content):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"hostile\.safetensors"):
        read_checkpoint(path)


def test_a_pickle_needs_permission(tmp_path):
    torch.save(TENSORS, tmp_path / "model.ckpt")
    with pytest.raises(InputError, match=r"model\.ckpt is a pickle, which can run code.*--allow-pickle"):
        read_checkpoint(tmp_path / "model.ckpt")
    assert same_tensors(read_checkpoint(tmp_path / "model.ckpt", allow_pickle=True), TENSORS)


def test_of_a_training_checkpoint_the_state_is_taken(tmp_path, monkeypatch):
    """Stable Diffusion 1's has Lightning's callbacks beside it, by their class. It need not be installed."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    lightning = ModuleType(name)
    kind = type("ModelCheckpoint", (), {"__module__": name})
    vars(lightning)["ModelCheckpoint"] = kind
    value = {"state_dict": TENSORS, "global_step": 3, "callbacks": {kind: {"best": None}}}
    with monkeypatch.context() as installed:
        for depth in (1, 2, 3):
            installed.setitem(sys.modules, ".".join(name.split(".")[:depth]), lightning)
        torch.save(value, tmp_path / "model.ckpt")
    before = torch.serialization.get_safe_globals()
    assert same_tensors(read_checkpoint(tmp_path / "model.ckpt", allow_pickle=True), TENSORS)
    assert set(torch.serialization.get_safe_globals()) == set(before)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path, name, protocol):
    trap, path = tmp_path / "sprung", tmp_path / name
    value = {**TENSORS, "c": Trap(trap)}
    pickle.loads(pickle.dumps(Trap(tmp_path / "works")))
    assert (tmp_path / "works").exists()  # the trap is a real one
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    with pytest.raises(InputError, match=name):
        read_checkpoint(path, allow_pickle=True)
    torch.save(value, path)
    with pytest.raises(InputError, match=rf"{name} is .*pickle by the name" if "safe" in name else "touch|global"):
        read_checkpoint(path, allow_pickle=True)
    assert not trap.exists()


def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path):
    path = tmp_path / "odd.pt"
    for value, message in (
        ([torch.ones(1)], "expected tensors by name, not list"),
        ({"a": 3}, "'a' is int, not a tensor"),
        ({3: torch.ones(1)}, "3 is Tensor"),
    ):
        torch.save(value, path)
        with pytest.raises(InputError, match=message):
            read_checkpoint(path, allow_pickle=True)
    path.write_bytes(b"no pickle at all")
    with pytest.raises(InputError, match=r"odd\.pt is not read"):
        read_checkpoint(path, allow_pickle=True)
    for missing in ("model.h5", "none.safetensors"):
        with pytest.raises(InputError, match=f"{missing}: there is no such file"):
            read_checkpoint(tmp_path / missing)
    (tmp_path / "model.h5").write_bytes(b"")
    with pytest.raises(InputError, match="none of these"):
        read_checkpoint(tmp_path / "model.h5")


STEM = "diffusion_pytorch_model"


def sharded(folder, weight_map=None, variant=""):
    files = [f"{STEM}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for file, (name, value) in zip(files, TENSORS.items(), strict=True):
        save_file({name: value}, folder / file)
    places = dict(zip(TENSORS, files, strict=True)) if weight_map is None else weight_map
    (folder / f"{STEM}.safetensors.index{variant}.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_folders_with_one_file_or_many(tmp_path, variant):
    sharded(tmp_path, variant=variant)
    assert same_tensors(read_component(tmp_path, STEM), TENSORS)
    other = {"a.weight": TENSORS["a.weight"] + 1}
    save_file(other, tmp_path / f"{STEM}{variant}.safetensors")
    assert same_tensors(read_component(tmp_path, STEM), other)  # a whole file comes before parts


def test_full_precision_comes_before_half_and_safetensors_before_pickles(tmp_path):
    torch.save(TENSORS, tmp_path / f"{STEM}.bin")
    with pytest.raises(InputError, match="is a pickle"):
        read_component(tmp_path, STEM)
    assert same_tensors(read_component(tmp_path, STEM, allow_pickle=True), TENSORS)
    for name, value in ((f"{STEM}.fp16.safetensors", 2.0), (f"{STEM}.safetensors", 3.0)):
        save_file({"a": torch.tensor([value])}, tmp_path / name)
        assert read_component(tmp_path, STEM)["a"] == value


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({}, None),
        (3, "weight_map is missing"),
        ({"a.weight": 3}, "weight_map is missing"),
        ({"a.weight": "../model.safetensors"}, "no .safetensors file beside it"),
        ({"a.weight": "model.bin"}, "no .safetensors file beside it"),
        ({"a.weight": f"{STEM}-00003-of-00002.safetensors"}, "there is no such file"),
        ({"a.weight": f"{STEM}-00002-of-00002.safetensors"}, "differ on which tensors that file holds: a.weight"),
    ],
)
def test_an_index_that_lies(tmp_path, weight_map, message):
    sharded(tmp_path, weight_map)
    if message is None:
        assert read_component(tmp_path, STEM) == {}
        return
    with pytest.raises(InputError, match=message):
        read_component(tmp_path, STEM)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no weights"):
        read_component(tmp_path, STEM)
    with pytest.raises(InputError, match="there is no such folder"):
        read_component(tmp_path / "unet", STEM)
