"""`sfumato convert` and `sfumato export --format diffusers`, from the command line to pictures."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import openai_reference
import sfumato as sf
from foreign import library, same_tensors, single_file, tiny_stable_diffusion, tiny_tokenizer
from sfumato.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stable") / "theirs"
    return tiny_stable_diffusion(folder), folder


def test_a_folder_and_a_file_of_the_same_model_become_the_same(stable, tmp_path, capsys):
    pipeline, folder = stable
    assert run("convert", folder, "--out", tmp_path / "a", "--name", "tiny", "--licence", "MIT") == 0
    assert "tiny, " in capsys.readouterr().out
    save_file({name: value.contiguous() for name, value in single_file(pipeline).items()}, tmp_path / "x.safetensors")
    words = ["--tokenizer", folder / "tokenizer", "--size", "16"]
    assert run("convert", tmp_path / "x.safetensors", "--out", tmp_path / "b", *words) == 0
    assert "left out: tables of its schedule (1 tensors)" in capsys.readouterr().out
    a, b = (sf.load(tmp_path / name) for name in "ab")
    assert same_tensors(dict(a.network.state_dict()), dict(b.network.state_dict()))
    assert (a.spec.network, a.spec.schedule, a.spec.autoencoder) == (
        b.spec.network,
        b.spec.schedule,
        b.spec.autoencoder,
    )
    assert (a.spec.name, a.spec.licence, b.spec.name) == ("tiny", "MIT", "x")
    picture = a.sample(1, prompt="a cat", steps=3)
    assert (picture.array == b.sample(1, prompt="a cat", steps=3).array).all()

    half = tmp_path / "half"
    assert run("export", tmp_path / "a", "--out", half, "--dtype", "float16", "--steps", "3") == 0
    assert abs(sf.load(half).sample(1, prompt="a cat").array.astype(int) - picture.array).max() < 16
    assert run("export", tmp_path / "a", "--out", tmp_path / "back", "--format", "diffusers") == 0
    assert "tiny as diffusers' StableDiffusionPipeline" in capsys.readouterr().out
    again = library("diffusers").DiffusionPipeline.from_pretrained(tmp_path / "back")
    assert same_tensors(dict(again.unet.state_dict()), dict(pipeline.unet.state_dict()))
    assert run("export", tmp_path / "a", "--out", tmp_path / "c", "--format", "diffusers", "--steps", "3") == 2
    assert "no place for --steps" in capsys.readouterr().err


def test_a_checkpoint_needs_permission(stable, tmp_path, capsys):
    torch.save({"state_dict": single_file(stable[0])}, tmp_path / "x.ckpt")
    words = ["convert", tmp_path / "x.ckpt", "--out", tmp_path / "m", "--tokenizer", stable[1] / "tokenizer"]
    assert run(*words) == 2
    assert "--allow-pickle" in capsys.readouterr().err
    assert run(*words, "--allow-pickle") == 0
    assert sf.load(tmp_path / "m").spec.size == (512, 512)


def test_a_network_of_openais(tmp_path, capsys):
    tensors = openai_reference.state(
        channels=32, widths=(32, 64), blocks=1, attention=(1,), scale_shift=True, updown=True, classes=3, out_channels=6
    )
    torch.save(tensors, tmp_path / "64x64.pt")
    words = ["convert", tmp_path / "64x64.pt", "--out", tmp_path / "m", "--allow-pickle"]
    assert run(*words, "--head-channels", "16") == 2
    assert "give it with --size" in capsys.readouterr().err
    assert run(*words, "--size", "8") == 2
    assert "give either heads or head_channels" in capsys.readouterr().err
    told = ["--size", "8", "--head-channels", "16", "--schedule", "cosine", "--steps", "500"]
    assert run(*words, *told) == 0
    assert "'cosine' of 500 steps" in capsys.readouterr().out
    model = sf.load(tmp_path / "m")
    x = torch.randn(1, 3, 8, 8)
    expected = openai_reference.run(tensors, x, 99, torch.tensor([2]), head_channels=16)
    torch.testing.assert_close(model.network(x, 0.2, torch.tensor([[2]])), expected, rtol=1e-4, atol=1e-5)
    assert model.spec.labels.kinds == {"class": ("0", "1", "2")}
    assert model.sample(2, label="1", steps=2).array.shape == (2, 8, 8, 3)  # the learned variance is left aside


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, p: t.pop("first_stage_model.quant_conv.bias"), "quant_conv.bias is missing"),
        (lambda t, p: p.pop("--tokenizer"), "--tokenizer"),
        (lambda t, p: p.update({"--tokenizer": "nowhere"}), "nowhere holds no tokenizer"),
        (lambda t, p: [t.pop(k) for k in list(t) if k.startswith("first")], "it has no autoencoder"),
        (lambda t, p: [t.pop(k) for k in list(t) if k.startswith("cond")], "it has no text encoder"),
        (lambda t, p: [t.pop(k) for k in list(t) if k.startswith("model.")], "no Stable Diffusion"),
        (lambda t, p: t.update(surplus=torch.ones(1)), "there is no place for surplus"),
        (lambda t, p: t.update(betas=torch.rand(9)), "known here"),
        (lambda t, p: p.update({"--heads": 3}), "3 heads do not divide"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(stable, tmp_path, capsys, change, message):
    tensors, options = single_file(stable[0]), {"--tokenizer": stable[1] / "tokenizer"}
    change(tensors, options)
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "x.safetensors")
    words = [word for pair in options.items() for word in pair]
    assert run("convert", tmp_path / "x.safetensors", "--out", tmp_path / "m", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "words",
    [("--prediction", "v"), ("--steps", "77"), ("--schedule", "cosine"), ("--heads", "2"), ("--tokenizer", "x")],
)
def test_what_a_folder_says_itself_is_not_asked_for(stable, tmp_path, capsys, words):
    assert run("convert", stable[1], "--out", tmp_path / "m", *words) == 2
    assert f"{words[0]} has no place here: a diffusers folder says that itself" in capsys.readouterr().err


def test_a_folder_gives_its_whole_name(stable, tmp_path):
    shutil.copytree(stable[1], tmp_path / "tiny-1.5")
    assert run("convert", tmp_path / "tiny-1.5", "--out", tmp_path / "m") == 0
    assert sf.load(tmp_path / "m").spec.name == "tiny-1.5"


def test_nothing_foreign_is_replaced(tmp_path, capsys):
    tiny_tokenizer(tmp_path / "mine")
    assert run("convert", tmp_path / "x.safetensors", "--out", tmp_path / "mine") == 2
    assert "no part of a model" in capsys.readouterr().err
    assert run("convert", tmp_path / "x.safetensors", "--out", tmp_path / "m") == 2
    assert "x.safetensors: there is no such file or folder" in capsys.readouterr().err
    assert json.loads((tmp_path / "mine" / "vocab.json").read_text())


def test_the_files_of_a_text_encoder_are_whole(stable, tmp_path):
    assert run("convert", stable[1], "--out", tmp_path / "m") == 0
    text = tmp_path / "m" / "text"
    assert not [path.name for path in text.iterdir() if path.is_symlink()]
    assert same_tensors(
        load_file(text / "model.safetensors"), load_file(stable[1] / "text_encoder" / "model.safetensors")
    )


def test_a_lora_is_merged_on_export(stable, tmp_path, capsys):
    assert run("convert", stable[1], "--out", tmp_path / "m") == 0
    unet, text = "unet.conv_in", "text_encoder.text_model.encoder.layers.0.mlp.fc2"
    factors = {
        f"{unet}.lora_A.weight": torch.randn(2, 4, 3, 3),
        f"{unet}.lora_B.weight": torch.randn(32, 2, 1, 1),
        f"{text}.lora_A.weight": torch.randn(2, 24),
        f"{text}.lora_B.weight": torch.randn(128, 2),
    }
    save_file(factors, tmp_path / "style.safetensors")
    words = ["export", tmp_path / "m", "--lora", tmp_path / "style.safetensors", "--lora-scale"]
    assert run(*words, "0.5", "--out", tmp_path / "l") == 0
    model, plain = sf.load(tmp_path / "l"), sf.load(tmp_path / "m")
    assert model.spec.training["lora"] == "style.safetensors, scale 0.5"
    change = model.network.enter.weight - plain.network.enter.weight
    up, down = factors[f"{unet}.lora_B.weight"][:, :, 0, 0], factors[f"{unet}.lora_A.weight"]
    torch.testing.assert_close(change, 0.5 * torch.einsum("or,rikl->oikl", up, down), rtol=1e-5, atol=1e-6)
    how = {"prompt": "a cat", "steps": 2, "guidance_scale": 2.0}
    assert (model.sample(1, **how).array != plain.sample(1, **how).array).any()
    texts = [load_file(tmp_path / name / "text" / "model.safetensors") for name in "ml"]
    (changed,) = (name for name in texts[0] if not torch.equal(texts[0][name], texts[1][name]))
    assert changed.endswith("encoder.layers.0.mlp.fc2.weight")
    assert run(*words, "0", "--out", tmp_path / "z") == 0
    assert same_tensors(dict(sf.load(tmp_path / "z").network.state_dict()), dict(plain.network.state_dict()))
    capsys.readouterr()
    save_file({"unet.a.lora_A.weight": torch.ones(2, 2), "unet.a.lora_B.weight": torch.ones(2, 2)}, words[3])
    assert run(*words, "1", "--out", tmp_path / "w") == 2
    assert "style.safetensors: a LoRA for another model: unet.a is no layer" in capsys.readouterr().err
