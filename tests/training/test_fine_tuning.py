"""Runs that go on from a model: they begin exactly where it is, and end where an uninterrupted one would."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file

import factory
from factory import NETWORK, QUIET, pictures
from foreign import same_tensors
from sfumato.cli.main import main
from sfumato.conditioning.labels import LabelSet
from sfumato.data.dataset import Dataset
from sfumato.data.pack import read_pack, write_pack
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.generation.model import load
from sfumato.models.convert.lora import HEADER
from sfumato.models.folder import save_folder
from sfumato.training.config import TrainConfig
from sfumato.training.ema import decay
from sfumato.training.estimate import estimate
from sfumato.training.fine_tuning import fine_tuning, options_from
from sfumato.training.label_tables import joined, tables, unknown, with_kinds
from sfumato.training.loop import train
from sfumato.training.lora_config import LoraConfig
from sfumato.training.parent import open_parent
from sfumato.training.student import begin
from sfumato.training.subject import open_subject

SMALL = {
    "size": 8,
    "pictures": 24,
    "batch": 4,
    "warmup": 8,
    "ema_halflife": 16,
    "log_every": 8,
    "checkpoint_every": 8,
    "sample_every": 0,
    "device": "cpu",
    "threads": 1,
}
LORA = LoraConfig(2, 3.0)


def parent_at(folder, **changes):
    """A model with labels of two kinds, of random weights."""
    description = factory.spec(training={"learning_rate": 2e-3}, licence="MIT", **changes)
    save_folder(folder, description, factory.network(description).state_dict(), "average")
    return folder


def labelled(folder, kinds, rows):
    """A packed file of noise with these labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (len(rows), 8, 8, 3)).astype(np.uint8)
    write_pack(Dataset("mine", images, np.array(rows, np.int64).reshape(len(rows), len(kinds)), kinds), folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def parent(tmp_path):
    return parent_at(tmp_path / "parent")


def config(parent, data, out, **changes) -> TrainConfig:
    return fine_tuning(parent, data=str(data), out=out, **{**SMALL, **changes})


def begun(cfg, say=lambda text: None):
    """What a run begins with."""
    cfg.out.mkdir(parents=True, exist_ok=True)
    subject = open_subject(cfg, read_pack(cfg.data), torch.device("cpu"), say, open_parent(cfg))
    return begin(cfg, subject, torch.device("cpu"), say), subject


def newest(out):
    return load_file(sorted((out / "checkpoints").glob("*.safetensors"))[-1])


class KilledError(Exception):
    pass


def killed(cfg, after):
    """A run that ends in the middle of a step, with nothing saved of that."""
    step, left = torch.optim.AdamW.step, [after]

    def failing(self, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise KilledError
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", failing)
        with pytest.raises(KilledError):
            train(cfg, QUIET)


# ---- where it begins -------------------------------------------------------------------------------------------------

KNOWN = {"style": ("flat", "noto"), "group": ("animals",)}  # names and order are the data's own
NEW = {"group": ("plants", "food"), "maker": ("me", "you")}


@pytest.mark.parametrize("lora", [LoraConfig(), LORA], ids=["all", "adapter"])
@pytest.mark.parametrize("kinds", [KNOWN, {}], ids=["known", "none"])
def test_begins_as_the_model_is(parent, tmp_path, kinds, lora):
    data = labelled(tmp_path / "d.safetensors", kinds, [[0] * len(kinds)] * 6)
    student, subject = begun(config(parent, data, tmp_path / "run", lora=lora))
    model = load(parent)
    x, labels = torch.randn(3, 3, 8, 8), torch.tensor([[0, 1], [-1, 2], [-1, -1]])
    with torch.no_grad():
        assert torch.equal(student.network.eval()(x, 0.4, labels), model.network(x, 0.4, labels))
    assert subject.labels.kinds == model.spec.labels.kinds
    flat, animals = 2, 1
    assert subject.labels.counts == ((((animals, flat) if kinds else (-1, -1)), 6),)
    whole = student.whole(student.learning.state_dict())
    assert same_tensors(dict(whole), dict(model.network.state_dict()))


def test_new_labels_begin_as_none_and_known_ones_keep_their_meaning(parent, tmp_path):
    data = labelled(tmp_path / "d.safetensors", NEW, [[0, 0], [1, 1], [-1, 0]])
    said = []
    student, subject = begun(config(parent, data, tmp_path / "run"), said.append)
    assert said == ["new labels, which begin as if none were given: group: plants; maker: me, you"]
    assert subject.labels.kinds == {
        "group": ("food", "animals", "plants"),
        "style": ("noto", "fluent", "flat"),
        "maker": ("me", "you"),
    }
    assert subject.data.labels.tolist() == [[2, -1, 0], [0, -1, 1], [-1, -1, 0]]
    network, model = student.network.eval(), load(parent).network
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        for new, old in (([0, 2, -1], [0, 2]), ([1, -1, 1], [1, -1]), ([2, 0, 0], [-1, 0]), ([-1, -1, 1], [-1, -1])):
            assert torch.equal(network(x, 0.4, torch.tensor([new])), model(x, 0.4, torch.tensor([old])))


def test_tables_of_labels():
    old = [torch.arange(6.0).reshape(3, 2), torch.arange(10.0, 14).reshape(2, 2)]
    known = {"a": ("x", "y"), "b": ("z",)}
    labels = LabelSet(known, (((1, 0), 5), ((-1, 0), 2)))  # x is among the names, but no picture had it
    kinds = joined(known, {"c": ("w",), "b": ("z", "q")})
    assert kinds == {"a": ("x", "y"), "b": ("z", "q"), "c": ("w",)}
    a, b, c = tables(labels, old, kinds, 2)
    assert a.tolist() == [[4, 5], [2, 3], [4, 5]]
    assert b.tolist() == [[10, 11], [12, 13], [12, 13]]
    assert c.tolist() == [[0, 0], [0, 0]]
    assert unknown(known, {"b": ("z", "q"), "a": ("y",)}) == "b: q"
    assert joined(kinds, {"b": ("q",)}) == kinds  # what a run that goes on finds
    mine = Dataset("d", np.zeros((2, 4, 4, 3), np.uint8), np.array([[1], [-1]]), {"b": ("q", "z")})
    assert with_kinds(mine, kinds).labels.tolist() == [[-1, 0, -1], [-1, -1, -1]]


def test_the_first_step_is_adamw_from_the_models_weights(parent, data, tmp_path):
    """Done again with torch's own AdamW; the average is that of the model and of what the step made of it."""
    cfg = config(parent, data, tmp_path / "run", pictures=4, unlabelled=True)
    train(cfg, QUIET)
    stored, model = newest(tmp_path / "run"), load(parent)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    from sfumato.training.batches import Batches
    from sfumato.training.times import on_steps

    batch = Batches(read_pack(tmp_path / "run" / "data.safetensors").unlabelled(), 0).at(0, 4)
    network, schedule = model.network.requires_grad_(True).train(), model.diffusion.schedule
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4 * 4 / 8, betas=(0.9, 0.99), weight_decay=0.0)
    t = on_steps(batch.fraction, 1000)
    alpha, sigma = (f(t).float()[:, None, None, None] for f in (schedule.alpha, schedule.sigma))
    output = network(alpha * batch.x0 + sigma * batch.noise, t, torch.full((4, 2), -1))
    ((output - (alpha * batch.noise - sigma * batch.x0)) ** 2).mean().backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    kept = decay(4, 4, 16, cfg.ema_rampup)
    assert 0 < kept < 1
    for name, value in network.state_dict().items():
        torch.testing.assert_close(stored[f"weights/{name}"], value, rtol=1e-4, atol=1e-6)
        average = kept * before[name] + (1 - kept) * stored[f"weights/{name}"]
        torch.testing.assert_close(stored[f"average/{name}"], average, rtol=1e-5, atol=1e-7)


def test_what_a_model_decides_and_what_is_advised(parent, data, tmp_path):
    cfg = fine_tuning(parent, data=str(data), out=tmp_path / "run", batch=2)
    assert replace(cfg.network, labels=(2, 3)) == load(parent).spec.network
    assert (cfg.start, cfg.size, cfg.lr, cfg.batch, cfg.prediction) == (str(parent), 8, 2e-4, 2, "v")
    assert fine_tuning(parent, data="", out="", lora=LORA).lr == 2e-3
    unknown_rate = parent_at(tmp_path / "other", prediction="eps", schedule=ScheduleConfig("linear", 1000, False))
    (tmp_path / "other" / "model.json").write_text((tmp_path / "other" / "model.json").read_text().replace("_rate", ""))
    options = options_from(unknown_rate)
    assert (options["lr"], options["prediction"], options["schedule"]["name"]) == (1e-5, "eps", "linear")
    with pytest.raises(InputError, match="no model 'nowhere'"):
        fine_tuning("nowhere", data="", out="")


# ---- what comes of it ------------------------------------------------------------------------------------------------


def test_a_model_says_where_it_comes_from(parent, data, tmp_path):
    train(config(parent, data, tmp_path / "run", sample_every=24), QUIET)
    spec, before = load(tmp_path / "run").spec, load(parent).spec
    assert before.weights is not None
    assert (spec.training["parent"], spec.training["parent_sha256"]) == ("tiny", before.weights.sha256)
    assert spec.licence == "that of its training data, and of tiny: MIT; decide before you publish it"
    assert spec.sampling == before.sampling
    assert spec.labels.seen == {"group": (), "style": (), "class": ("blue", "red")}
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"- parent sha256: {before.weights.sha256}" in card
    assert "- group: \n" not in card
    assert load(tmp_path / "run").sample(1, label="red", steps=2).array.shape == (1, 8, 8, 3)
    again = config(tmp_path / "run", data, tmp_path / "more", read="on-demand")  # a run may go on from a run
    assert again.lr == config(parent, data, tmp_path / "more").lr
    train(again, QUIET)
    assert load(tmp_path / "more").spec.labels == spec.labels


def test_goes_on_without_its_parent_to_the_same_bytes(parent, data, tmp_path):
    train(config(parent, data, tmp_path / "whole"), QUIET)
    cut = config(parent, data, tmp_path / "cut")
    killed(cut, after=1)  # nothing saved yet: it needs its parent once more
    killed(replace(cut, resume=True), after=4)
    shutil.rmtree(parent)
    train(replace(cut, resume=True), QUIET)
    assert same_tensors(newest(tmp_path / "cut"), newest(tmp_path / "whole"))
    weights = [(tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("cut", "whole")]
    assert weights[0] == weights[1]
    assert sorted(p.name for p in (tmp_path / "cut" / "parent").iterdir()) == ["model.json"]


def test_an_adapter_goes_on_to_the_same_bytes(parent, tmp_path):
    data = labelled(tmp_path / "d.safetensors", KNOWN, [[0, 0], [1, -1], [-1, 0], [1, 0]])
    how = {"lora": LORA, "sample_every": 8}
    folder = train(config(parent, data, tmp_path / "whole", **how), QUIET)
    assert folder == tmp_path / "whole" / "adapter.safetensors"
    cut = config(parent, data, tmp_path / "cut", **how)
    killed(cut, after=4)
    train(replace(cut, resume=True), QUIET)
    assert same_tensors(load_file(folder), load_file(tmp_path / "cut" / "adapter.safetensors"))
    assert same_tensors(newest(tmp_path / "cut"), newest(tmp_path / "whole"))
    for name in ("000000000008.png", "000000000024.png"):
        sheets = [(tmp_path / run / "samples" / name).read_bytes() for run in ("cut", "whole")]
        assert sheets[0] == sheets[1]


def test_a_checkpoint_of_an_adapter_holds_nothing_else(parent, tmp_path):
    """Weights and average of the factors, and AdamW's two moments of them."""
    data = labelled(tmp_path / "d.safetensors", {}, [[]] * 4)
    train(config(parent, data, tmp_path / "run", lora=LORA), QUIET)
    stored, adapter = newest(tmp_path / "run"), load_file(tmp_path / "run" / "adapter.safetensors")
    numbers = sum(value.numel() for name, value in adapter.items() if not name.endswith("alpha"))
    moments = {name: value for name, value in stored.items() if not name.endswith("/step")}
    assert sum(value.numel() for value in moments.values()) == 4 * numbers
    assert not (tmp_path / "run" / "model").exists()
    for name, value in stored.items():
        if name.startswith("average/") and name.endswith(".up.weight"):
            layer = name.removeprefix("average/").removesuffix(".up.weight")
            assert torch.equal(adapter[f"lora_unet_{layer}.lora_up.weight"], value)
    with safe_open(tmp_path / "run" / "adapter.safetensors", "pt") as file:
        facts = json.loads(file.metadata()[HEADER])
    assert (facts["rank"], facts["alpha"], facts["targets"]) == (2, 3.0, "all")
    assert (facts["training"]["pictures"], facts["data"]["name"]) == (24, "mine")


def test_an_adapter_learns_and_its_model_stays(data, tmp_path):
    """A model of blue pictures makes redder ones with the adapter, and at scale 0 those that it made before."""
    how = {"pictures": 1600, "batch": 16, "lr": 4e-3, "ema_halflife": 200, "checkpoint_every": 1600, "unlabelled": True}
    for colour in ("blue", "red"):
        shutil.copytree(data / colour, tmp_path / colour / colour)
    blue, run = tmp_path / "of-blue", tmp_path / "run"
    train(factory.config(tmp_path / "blue", blue, **how), QUIET)
    weights = (blue / "model" / "weights.safetensors").read_bytes()
    train(config(blue, tmp_path / "red", run, lora=LoraConfig(4), **how), QUIET)
    before, without, with_it = (
        model.sample(8, steps=10).array.astype(float)
        for model in (load(blue), load(blue, lora=run, lora_scale=0.0), load(blue, lora=run))
    )
    assert (without == before).all()
    (red, _, other), (was_red, _, was_other) = with_it.mean((0, 1, 2)), before.mean((0, 1, 2))
    assert was_other > was_red + 40
    assert red - other > was_red - was_other + 80
    assert (blue / "model" / "weights.safetensors").read_bytes() == weights


def test_an_adapter_needs_the_very_model(parent, tmp_path):
    data = labelled(tmp_path / "d.safetensors", {}, [[]] * 4)
    cfg = config(parent, data, tmp_path / "run", lora=LORA)
    killed(cfg, after=3)
    parent.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="no model"):
        train(replace(cfg, resume=True), QUIET)
    other = parent_at(tmp_path / "parent", name="other")
    tensors = load(other).network.state_dict()
    save_folder(other, load(other).spec, {name: value + 1e-3 for name, value in tensors.items()}, "average")
    with pytest.raises(InputError, match=r"is not the model that this run goes on from.*--from MODEL"):
        train(replace(cfg, resume=True), QUIET)
    train(replace(cfg, resume=True, start=str(tmp_path / "moved")), QUIET)
    with pytest.raises(InputError, match=r"learned an adapter, not a model.*sfumato sample MODEL --lora"):
        load(tmp_path / "run")


# ---- models of texts and latents -------------------------------------------------------------------------------------


@pytest.fixture
def captioned(tmp_path):
    rng = np.random.default_rng(0)
    pack = Dataset(
        "captioned",
        rng.integers(0, 255, (4, 8, 8, 3)).astype(np.uint8),
        np.zeros((4, 0), np.int64),
        captions=("red apple", "a zebra", "zebra", "cats"),
    )
    write_pack(pack, tmp_path / "captioned.safetensors")
    return tmp_path / "captioned.safetensors"


@pytest.mark.parametrize("lora", [LoraConfig(), LORA], ids=["all", "adapter"])
def test_a_model_of_words_keeps_its_vocabulary(captioned, tmp_path, lora):
    model = factory.text_model()
    save_folder(tmp_path / "words", model.spec, model.network.state_dict(), "average")
    said = io.StringIO()
    cfg = config(tmp_path / "words", captioned, tmp_path / "run", lora=lora, sample_every=24)
    assert (cfg.text, cfg.text_length, cfg.text_features) == ("words", 6, 8)
    train(cfg, Console(file=said, width=400))
    assert "3 of the 5 words in the captions are not in the model's vocabulary: zebra, a, cats." in said.getvalue()
    child = load(tmp_path / "words", lora=tmp_path / "run") if lora.rank else load(tmp_path / "run")
    assert child.spec.text is not None
    assert child.spec.text.words == factory.WORDS
    assert lora.rank or child.spec.text.examples == ("red apple", "a zebra", "zebra", "cats")
    assert child.sample(prompt="red apple", steps=2).array.shape == (1, 8, 8, 3)


def test_a_model_of_texts_needs_captions(data, tmp_path):
    model = factory.text_model()
    save_folder(tmp_path / "words", model.spec, model.network.state_dict(), "average")
    with pytest.raises(InputError, match="has no captions to learn from"):
        train(config(tmp_path / "words", data, tmp_path / "run"), QUIET)


def test_a_model_of_latents_with_a_frozen_reader_brings_both(captioned, tmp_path):
    """And a run that goes on finds them in its own folder."""
    from autoencoders import codec
    from encoders import minilm
    from sfumato.models.autoencoder import save_autoencoder_folder

    minilm(tmp_path / "bert")
    save_autoencoder_folder(tmp_path / "ae", codec().spec, codec().network.state_dict())
    fresh = factory.config(
        captioned, tmp_path / "first", pictures=8, text="minilm", text_encoder=tmp_path / "bert", text_length=6,
        autoencoder=tmp_path / "ae", size=16,
    )  # fmt: skip
    train(fresh, QUIET)
    parent = (tmp_path / "first").rename(tmp_path / "parent")
    shutil.rmtree(tmp_path / "bert")
    shutil.rmtree(tmp_path / "ae")
    whole, cut = (config(parent, captioned, tmp_path / name, size=16) for name in ("whole", "cut"))
    train(whole, QUIET)
    killed(cut, after=3)
    shutil.rmtree(parent)
    train(replace(cut, resume=True), QUIET)
    assert same_tensors(newest(tmp_path / "cut"), newest(tmp_path / "whole"))
    shutil.rmtree(tmp_path / "cut" / "parent")
    model = load(tmp_path / "cut")  # whole in itself
    assert model.sample(prompt="cat", steps=2).array.shape == (1, 16, 16, 3)
    assert model.spec.training["parent"] == "captioned"


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network": replace(NETWORK, channels=16)},
            r"network\.channels would be 16, but tiny has 8 \(time\.0\.weight would be \(64, 16\), and is \(32, 8\)\)",
        ),
        ({"network": replace(NETWORK, multipliers=(1, 2, 2))}, r"network\.multipliers would be \(1, 2, 2\), but tiny"),
        ({"network": replace(NETWORK, blocks=2)}, r"network\.blocks would be 2, but tiny has 1 \(down\.1"),
        ({"network": replace(NETWORK, groups=2)}, r"network\.groups would be 2, but tiny has 4\. A run that goes on"),
        ({"prediction": "x0"}, "prediction is 'x0', but tiny has 'v'"),
        ({"schedule": ScheduleConfig("linear")}, r"schedule\.name is 'linear', but tiny has 'cosine'"),
        ({"text": "words"}, "text is 'words', but tiny has 'none'"),
        ({"start": "nowhere"}, "no model 'nowhere'"),
        ({"size": 9}, "multiple of 2"),
        ({"lora": LoraConfig(9)}, r"a rank of 9 is more than down\.0\.block\.conv1 can have"),
        ({"lora": LORA}, r"an adapter has no room for labels that tiny does not know \(class: blue, red\)"),
    ],
)
def test_settings_that_cannot_work(parent, data, tmp_path, changes, message):
    unlabelled = "rank of" in message
    with pytest.raises(InputError, match=message):
        train(replace(config(parent, data, tmp_path / "run", unlabelled=unlabelled), **changes), QUIET)
    assert not (tmp_path / "run" / "config.json").exists()


def test_objectives_that_are_the_models(parent, data, tmp_path):
    cfg = config(parent, data, tmp_path / "run")
    for name, value in (("variance", "free"), ("sigma_data", 1.0), ("self_conditioning", True)):
        with pytest.raises(InputError, match=rf"objective\.{name} is {value!r}, but tiny has"):
            train(replace(cfg, objective=replace(cfg.objective, **{name: value})), QUIET)
    for network in (replace(cfg.network, dropout=0.1), cfg.network):  # how it learns is free
        other = {"network": network, "weighting": "min-snr", "lr": 1e-4, "pictures": 4, "size": 12, "unlabelled": True}
        train(replace(cfg, out=tmp_path / str(network.dropout), **other), QUIET)


def test_pictures_with_other_channels(parent, tmp_path):
    grey = Dataset("grey", np.zeros((4, 8, 8, 1), np.uint8), np.zeros((4, 0), np.int64))
    write_pack(grey, tmp_path / "grey.safetensors")
    with pytest.raises(InputError, match=r"network\.in_channels would be 1, but tiny has 3 \(enter\.weight would be"):
        train(config(parent, tmp_path / "grey.safetensors", tmp_path / "run"), QUIET)


def test_configs_that_cannot_be(parent, data, tmp_path):
    from sfumato.training.averages_config import AveragesConfig

    for make, message in (
        (lambda: LoraConfig(0), r"lora\.rank must be at least 1, not 0"),
        (lambda: LoraConfig(2, 0.0), r"lora\.alpha must be above 0, not 0"),
        (lambda: LoraConfig(2, float("nan")), r"lora\.alpha must be above 0"),
        (lambda: LoraConfig(targets="attention"), r"give lora\.rank too"),
        (lambda: factory.config(data, tmp_path, lora=LORA), "say which by --from MODEL"),
        (lambda: config(parent, data, tmp_path, lora=LORA, averages=AveragesConfig((5,))), "leave averages out"),
        (lambda: estimate(config(parent, data, tmp_path, lora=LORA)), r"not with .* --lora\.rank"),
    ):
        with pytest.raises(InputError, match=message):
            make()
    assert LoraConfig(4).strength == 4
    assert LORA.strength == 3


def test_a_run_that_began_anew_has_no_parent(parent, data, tmp_path):
    cfg = factory.config(data, tmp_path / "run", pictures=8)
    train(cfg, QUIET)
    with pytest.raises(InputError, match="did not begin with a model to go on from"):
        train(replace(cfg, pictures=12, resume=True, start=str(parent)), QUIET)


# ---- the command line ------------------------------------------------------------------------------------------------


def test_from_the_command_line(parent, data, tmp_path, capsys):
    def run(*words):
        return main([str(word) for word in words])

    small = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items() if key != "size"]
    out = tmp_path / "run"
    assert run("train", "--from", parent, "--data", data, "--out", out, *small, "--flip") == 0
    stored = json.loads((out / "config.json").read_text())
    assert (stored["start"], stored["network"]["channels"], stored["lr"], stored["size"]) == (str(parent), 8, 2e-4, 8)
    shutil.copytree(parent, tmp_path / "copy")
    shutil.rmtree(parent)
    assert run("train", "--out", out, "--resume", "--pictures", "28") == 0
    capsys.readouterr()

    words = ["train", "--from", tmp_path / "copy", "--data", data, "--out", tmp_path / "adapter"]
    assert run(*words, "--network.channels", "16") == 2
    assert "network.channels would be 16, but tiny has 8" in capsys.readouterr().err
    assert run(*words, "--prediction", "eps") == 2
    assert run(*words, "--preset", "emoji") == 2
    assert "--preset and --from exclude each other" in capsys.readouterr().err
    (tmp_path / "c.toml").write_text('unlabelled = true\n[lora]\nrank = 2\ntargets = "attention"\n')
    assert run(*words, *small, "--config", tmp_path / "c.toml") == 0
    assert json.loads((tmp_path / "adapter" / "config.json").read_text())["lr"] == 2e-3
    told = capsys.readouterr().out
    assert f"adapter: {tmp_path / 'adapter' / 'adapter.safetensors'}" in told
    used = ["sample", tmp_path / "copy", "--lora", tmp_path / "adapter", "--n", "1", "--out", tmp_path / "o"]
    assert run(*used, "--label", "none") == 0
