"""The hub's client works here on a cache that the test lays out as it does; nothing is fetched."""

import importlib
import shutil

import pytest

from factory import network, spec
from foreign import library, tiny_stable_diffusion
from sfumato.errors import InputError
from sfumato.generation.model import load
from sfumato.models.folder import save_folder
from sfumato.models.hub import UNWANTED, WANTED
from sfumato.models.parts import Parts
from tiny import latent_model

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Puts a folder into the client's cache under an id, and cuts the way to the hub."""
    library("huggingface_hub")
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "ours"))

    def put(name, folder):
        place = tmp_path / "hf" / f"models--{name.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text(REVISION)
        snapshot = place / "snapshots" / REVISION
        (place / "blobs").mkdir()
        for i, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
            shutil.copyfile(path, place / "blobs" / str(i))  # where the client keeps files; the snapshot links to them
            link = snapshot / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(place / "blobs" / str(i))

    return put


def test_a_model_of_ours(cached, tmp_path):
    save_folder(tmp_path / "m", spec(), network(spec()).state_dict(), "average")
    cached("someone/tiny", tmp_path / "m")
    assert load("someone/tiny").spec.name == "tiny"
    assert load(f"someone/tiny@{REVISION}").spec.name == "tiny"


def test_a_model_of_ours_with_an_autoencoder(cached, tmp_path):
    made = latent_model()
    assert made.autoencoder is not None
    parts = Parts(made.autoencoder.state_dict())
    save_folder(tmp_path / "m", made.spec, made.network.state_dict(), "average", parts=parts)
    cached("someone/latent", tmp_path / "m")
    assert len(load("someone/latent").sample(1, steps=1)) == 1


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_diffusers_is_converted_once(cached, tmp_path, monkeypatch):
    tiny_stable_diffusion(tmp_path / "sd")
    cached("someone/sd", tmp_path / "sd")
    model = load("someone/sd")
    assert model.spec.name == "sd"
    assert len(model.sample(prompt="a cat", steps=1)) == 1
    monkeypatch.setattr("sfumato.models.hub.from_pipeline", None)
    assert load("someone/sd").spec == model.spec


def test_what_is_fetched():
    """Everything of a whole model, and none of the further copies that lie beside it."""
    from huggingface_hub.utils import filter_repo_objects

    wanted = [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/spiece.model",
        "text/model.safetensors",
        "weights.safetensors",
        "autoencoder.safetensors",
        "tuned.json",
    ]
    others = [
        "v1-5-pruned-emaonly.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "safety_checker/model.safetensors",
        "vae/flax_model.msgpack",
        "README.md",
    ]
    found = filter_repo_objects([*wanted, *others], allow_patterns=WANTED, ignore_patterns=UNWANTED)
    assert list(found) == wanted


def test_without_a_way_to_the_hub(cached):
    with pytest.raises(InputError, match=r"no model 'no/such': there is no such folder, and the hub gave none \("):
        load("no/such")


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'sfumato\[hub\]'"):
        load("someone/tiny")


@pytest.mark.parametrize("source", ["emoj", "a/b/c", "./m", "~/m", "/no/where"])
def test_what_is_no_id_is_looked_for_here(source):
    with pytest.raises(InputError, match="neither a folder nor a shipped name"):
        load(source)
