import json
import pickle
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

import sfumato as sf
from factory import model, network, spec, text_model
from sfumato.errors import InputError
from sfumato.files import sha256_of
from sfumato.models.card import model_card
from sfumato.models.folder import load_folder, save_folder
from sfumato.models.shipped import find_folder
from sfumato.models.spec import ModelSpec, WeightFacts
from tiny import latent_model


@pytest.fixture
def folder(tmp_path):
    description = spec()
    save_folder(tmp_path / "model", description, network(description).state_dict(), "average")
    return tmp_path / "model"


def test_what_is_loaded_is_what_was_saved(folder):
    description, net = load_folder(folder)
    assert description.which_weights == "average"
    assert description.labels == spec().labels
    assert (description.network, description.schedule, description.size) == (spec().network, spec().schedule, (8, 8))
    for name, value in network(spec()).state_dict().items():
        assert torch.equal(net.state_dict()[name], value)
    assert (sf.load(folder).sample(2, seed=4).array == model().sample(2, seed=4).array).all()


def test_is_three_plain_files_that_others_may_read(folder):
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "model.json", "weights.safetensors"]
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444
    card = (folder / "README.md").read_text()
    for fact in (
        "# tiny",
        "8x8",
        "prediction: v",
        "cosine, 1000 steps, zero terminal SNR",
        "group: food, animals",
        "Intended use",
    ):
        assert fact in card


def test_half_precision_halves_the_file(folder, tmp_path):
    description = spec()
    save_folder(tmp_path / "half", description, network(description).state_dict(), "average", torch.float16)
    sizes = [(f / "weights.safetensors").stat().st_size for f in (folder, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    _, net = load_folder(tmp_path / "half")
    for name, value in network(description).state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value, rtol=1e-3, atol=1e-4)
        assert net.state_dict()[name].dtype == torch.float32


def edit(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def facts_of(folder):
    return json.loads((folder / "model.json").read_text())


def deep(key, **changes):
    return lambda f: edit(f, **{key: {**facts_of(f)[key], **changes}})


DAMAGE = [
    (lambda f: edit(f, format=2), r"format 2, but this version reads up to 1\. Update"),
    *((lambda f, n=n: edit(f, format=n), "no format number") for n in ("1", True, -3, None)),
    (lambda f: edit(f, surprise=1), "there is no 'surprise'"),
    (lambda f: edit(f, prediction="epsilon"), "Did you mean 'eps'"),
    (lambda f: edit(f, network={"chanels": 3}), "there is no 'chanels'. Did you mean 'channels'"),
    (deep("network", channels=8.0), "network: channels must be of type int, not 8.0"),
    (deep("network", time_embedding="scale_shift"), "Did you mean 'scale-shift'"),
    (deep("network", mid_attention="no"), "must be of type bool"),
    (deep("network", channels=30_000, head_channels=None), "has the shape"),
    (deep("schedule", name=["cosine"]), "schedule: name cannot be"),
    (deep("schedule", steps=10**12), "from 1 to 100,000"),
    (deep("schedule", zero_terminal_snr="no"), "must be of type bool"),
    (lambda f: edit(f, size=[8]), "size must be of type"),
    (lambda f: edit(f, size="88"), "size must be of type"),
    (lambda f: edit(f, size=[7, 8]), "multiple of 2"),
    (lambda f: edit(f, name=None), "name must be of type str"),
    (lambda f: edit(f, labels={"kinds": {}, "counts": [], "dropout": 0}), "differ in number"),
    (deep("labels", dropout=float("nan")), "dropout must be of type float"),
    (deep("labels", counts=[[[0], 1]]), "cannot be"),
    (lambda f: edit(f, sampling=None), "sampling: expected a table"),
    (deep("sampling", guidance_scale="x"), "guidance_scale must be of type float"),
    (lambda f: edit(f, weights=None), "weights is missing"),
    (lambda f: edit(f, weights={"which": "raw"}), "dtype is missing"),
    (lambda f: (f / "model.json").write_text("{"), "cannot be read"),
    (lambda f: (f / "model.json").write_text("[" * 200_000), "cannot be read"),
    (lambda f: (f / "model.json").write_text("[]"), "no format number"),
    (lambda f: (f / "weights.safetensors").unlink(), "no weights.safetensors"),
    (lambda f: (f / "weights.safetensors").write_bytes(b"x" * 10), "not a whole safetensors file"),
    (lambda f: (f / "weights.safetensors").write_bytes((f / "weights.safetensors").read_bytes()[:-8]), "not a whole"),
    (lambda f: (f / "weights.safetensors").write_bytes(pickle.dumps({"a": 1})), "not a whole safetensors file"),
    (lambda f: rewrite(f, lambda t: t.pop("enter.weight")), r"enter.weight is missing \(1 tensors missing"),
    (lambda f: rewrite(f, lambda t: t.update(more=torch.zeros(1))), "no place for more"),
    (lambda f: rewrite(f, lambda t: t.update({"enter.bias": torch.zeros(3)})), r"enter.bias has the shape \(3,\)"),
    (lambda f: rewrite(f, lambda t: t["enter.bias"].fill_(float("nan"))), "enter.bias holds NaN"),
    (lambda f: rewrite(f, lambda t: t["enter.bias"].add_(1), checksum=True), "does not match the checksum"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=[message for _, message in DAMAGE])
def test_refuses_what_it_does_not_understand(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        sf.load(folder)


def rewrite(folder, change, checksum=False):
    """Other weights; with the right checksum in model.json unless it is what should be found wrong."""
    tensors = load_file(folder / "weights.safetensors")
    change(tensors)
    save_file(tensors, folder / "weights.safetensors")
    if not checksum:
        deep("weights", sha256=sha256_of(folder / "weights.safetensors"))(folder)


def test_never_replaces_what_is_no_model(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    (tmp_path / "file").write_text("")
    for target, message in ((tmp_path, "holds 'file', which is no part of a model"), (tmp_path / "file", "is a file")):
        with pytest.raises(InputError, match=message):
            save_folder(target, spec(), network(spec()).state_dict(), "raw")
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_loading_leaves_the_global_random_state_alone(folder):
    before = torch.random.get_rng_state()
    load_folder(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_pickle_is_named_and_not_opened(tmp_path):
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InputError, match=r"holds model\.pt, a pickle, which can run code"):
        load_folder(tmp_path)


def test_a_failing_save_leaves_the_old_model(folder, monkeypatch):
    before = (folder / "model.json").read_bytes()

    def failing(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sfumato.models.folder.save_file", failing)
    with pytest.raises(OSError, match="No space"):
        save_folder(folder, spec(name="new"), network(spec()).state_dict(), "raw")
    assert (folder / "model.json").read_bytes() == before
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_finding_a_model(folder, tmp_path):
    assert find_folder(folder) == folder
    assert find_folder(tmp_path) == folder  # a run holds it as "model"
    with pytest.raises(InputError, match="neither a folder nor a shipped name"):
        find_folder("emojy")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"no model yet. Go on with: sfumato train --out .*unfinished --resume"):
        find_folder(unfinished)


def test_spec_survives_json():
    description = spec(weights=WeightFacts("raw", "float32", 5, "abc"))
    assert ModelSpec.from_dict(json.loads(json.dumps(description.to_dict())), "here") == description


def test_the_card_says_how_to_ask_and_what_is_diffused():
    text = model_card(text_model().spec)
    assert "asked by prompts" in text
    assert 'prompt="red apple, noto style")' in text
    assert "6 words, those of its captions" in text
    assert "at most 6 tokens" in text
    latent = model_card(latent_model().spec)
    assert "works on latents of" in latent
    assert "with 3 channels, made with" in latent
    assert "## Texts" not in latent
