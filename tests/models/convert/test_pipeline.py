"""Whole models: diffusers' folders become ours and ours theirs, and both make the same latents and pictures."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sfumato as sf
from factory import model as own_model
from factory import spec as own_spec
from foreign import awake, library, same_tensors, tiny_stable_diffusion
from sfumato import solvers
from sfumato.conditioning.labels import LabelSet
from sfumato.conditioning.text import TextSpec
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.generation.asked import Asked
from sfumato.models.convert.pipeline import from_pipeline
from sfumato.models.convert.to_pipeline import to_pipeline
from sfumato.models.folder import load_folder, save_folder
from sfumato.models.parts import Parts, read_autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers and transformers about themselves

PROMPTS, SCALE, CALLS = ("a cat, sat", "on a mat"), 3.0, 4


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stable") / "theirs"
    return tiny_stable_diffusion(folder), folder


def converted(folder, tmp_path, **how):
    """The model folder that is made of a folder of diffusers."""
    work = tmp_path / "work"
    work.mkdir()
    found = from_pipeline(folder, work, name="tiny", **how)
    save_folder(tmp_path / "ours", found.spec, found.tensors, found.which, parts=found.parts)
    shutil.rmtree(work)  # nothing of it is needed any more
    return tmp_path / "ours"


def parts_of(folder, spec):
    return Parts(read_autoencoder(folder, spec.autoencoder).state_dict(), folder / "text")


def guided(model, latents):
    """Our loop at the times of diffusers' DDIM, whose last step ends at the first β."""
    indices = [*(1000 // CALLS * k + 1 for k in reversed(range(CALLS))), 0]
    table = solvers.get("ddim", model.diffusion.schedule, times=[(i + 1) / 1000 for i in indices])
    asked = Asked(np.zeros((len(PROMPTS), 0), np.int64), PROMPTS)
    return solvers.solve(model.denoiser(asked, SCALE), latents, table, seeds=range(len(PROMPTS)))


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def test_stable_diffusion_makes_the_same_latents_and_pictures(stable, tmp_path):
    pipeline, folder = stable
    model = sf.load(converted(folder, tmp_path))
    latents = torch.randn(2, 4, 8, 8)
    how = {"latents": latents, "num_inference_steps": CALLS, "guidance_scale": SCALE, "height": 16, "width": 16}
    theirs = pipeline(list(PROMPTS), output_type="latent", **how).images
    ours = guided(model, latents)
    assert relative(ours, theirs) < 1e-5
    pictures = pipeline(list(PROMPTS), output_type="np", **how).images
    assert np.abs(model.pictures(ours) / 255 - pictures).max() < 0.51 / 255
    assert model.spec.size == (16, 16)
    assert model.spec.sampling.guidance_scale == 7.5
    assert model.sample(1, prompt="a cat", steps=2).array.shape == (1, 16, 16, 3)


def test_stable_diffusion_comes_back_as_it_was(stable, tmp_path):
    """Every tensor of every part; and the pipeline that diffusers reads there makes the same latents."""
    pipeline, folder = stable
    spec, network = load_folder(ours := converted(folder, tmp_path))
    parts = parts_of(ours, spec)
    assert to_pipeline(tmp_path / "back", spec, network.state_dict(), parts) == "StableDiffusionPipeline"
    again = library("diffusers").StableDiffusionPipeline.from_pretrained(tmp_path / "back")
    for part in ("unet", "vae", "text_encoder"):
        before, after = getattr(pipeline, part).state_dict(), getattr(again, part).state_dict()
        assert same_tensors(dict(after), dict(before)), part
    assert again.tokenizer(PROMPTS[0])["input_ids"] == pipeline.tokenizer(PROMPTS[0])["input_ids"]
    again.set_progress_bar_config(disable=True)
    how = {"latents": torch.randn(1, 4, 8, 8), "num_inference_steps": 2, "output_type": "latent"}
    again.scheduler = pipeline.scheduler
    assert torch.equal(again("a dog", **how).images, pipeline("a dog", **how).images)
    # a folder of diffusers' is replaced, anything else is not
    to_pipeline(tmp_path / "back", spec, network.state_dict(), parts, torch.float16)
    stored = load_file(tmp_path / "back" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    with pytest.raises(InputError, match="is there already, and is no pipeline"):
        to_pipeline(ours, spec, network.state_dict(), parts)


def test_inpainting(tmp_path):
    pipeline = tiny_stable_diffusion(tmp_path / "theirs", inpainting=True)
    spec, network = load_folder(ours := converted(tmp_path / "theirs", tmp_path))
    assert (spec.network.in_channels, spec.network.output_channels, spec.shape()) == (9, 4, (4, 8, 8))
    parts = parts_of(ours, spec)
    assert to_pipeline(tmp_path / "back", spec, network.state_dict(), parts) == "StableDiffusionInpaintPipeline"
    again = library("diffusers").DiffusionPipeline.from_pretrained(tmp_path / "back")
    assert type(again) is type(pipeline)
    assert same_tensors(dict(again.unet.state_dict()), dict(pipeline.unet.state_dict()))


def pixels(folder, flat, **options):
    """DDPM by diffusers, small, in a folder; the U-Net's files at its top or in unet/."""
    diffusers = library("diffusers")
    small = {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
    }
    unet = awake(diffusers.UNet2DModel(**small, **options))
    pipeline = diffusers.DDIMPipeline(unet, diffusers.DDIMScheduler(1000, clip_sample=False))
    pipeline.save_pretrained(folder)
    if flat:
        for part in ("unet", "scheduler"):
            for file in (folder / part).iterdir():
                file.rename(folder / file.name)
            (folder / part).rmdir()
    return unet


@pytest.mark.parametrize("flat", [False, True])
def test_unconditional_pixels(tmp_path, flat):
    unet = pixels(tmp_path / "theirs", flat)
    model = sf.load(converted(tmp_path / "theirs", tmp_path))
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = unet(x, 321).sample
    assert relative(model.network(x, 322 / 1000), expected) < 1e-5
    assert (model.spec.size, model.spec.prediction, model.spec.schedule.name) == ((8, 8), "eps", "linear")
    assert model.sample(1, steps=2).array.shape == (1, 8, 8, 3)


def test_classes_become_labels(tmp_path):
    pixels(tmp_path / "theirs", False, num_class_embeds=3)
    model = sf.load(converted(tmp_path / "theirs", tmp_path))
    assert model.spec.labels.kinds == {"class": ("0", "1", "2")}
    assert model.sample(1, steps=2, label="2").array.shape == (1, 8, 8, 3)


SMALL = {"channels": 8, "multipliers": (1, 2), "attention_levels": (1,), "head_channels": 8, "groups": 4}


def test_a_model_of_our_own_goes_out(tmp_path):
    """It is told 1000·t, theirs the index i = 1000·t - 1: the difference is taken in by a layer, to rounding."""
    for encoding in ("ddpm", "adm"):
        network = UNetConfig(**SMALL, time_encoding=encoding)
        ours = own_model(network=network, labels=LabelSet())
        tensors = ours.network.state_dict()
        assert to_pipeline(tmp_path / encoding, ours.spec, tensors, Parts()) == "DDIMPipeline"
        theirs = library("diffusers").DiffusionPipeline.from_pretrained(tmp_path / encoding)
        x = torch.randn(2, 3, 8, 8)
        for index in (0, 1, 500, 999):
            with torch.no_grad():
                found = theirs.unet(x, index).sample
            assert relative(found, ours.network(x, (index + 1) / 1000)) < 1e-5
        bars = torch.tensor([ours.diffusion.schedule.alpha((i + 1) / 1000) ** 2 for i in range(1000)])
        torch.testing.assert_close(theirs.scheduler.alphas_cumprod, bars, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: change(f / "model_index.json", text_encoder_2=["transformers", "CLIP"]), "has a text_encoder_2"),
        (lambda f: (f / "scheduler" / "scheduler_config.json").unlink(), "scheduler_config.json is missing"),
        (lambda f: (f / "unet" / "config.json").write_text("[1]"), "expected names and values, not list"),
        (lambda f: change(f / "unet" / "config.json", act_fn="mish"), "unet: config.json of a UNet2D.*act_fn"),
        (lambda f: change(f / "unet" / "config.json", sample_size=None), "say the size of the pictures with --size"),
        (lambda f: shutil.rmtree(f / "tokenizer"), "holds no tokenizer"),
        (lambda f: change(f / "text_encoder" / "config.json", architectures=["T5EncoderModel"]), "T5EncoderModel"),
        (lambda f: change(f / "text_encoder" / "config.json", max_position_embeddings="8"), "not a number of tokens"),
        (lambda f: shutil.rmtree(f / "text_encoder"), "text_encoder.config.json cannot be read"),
        (lambda f: change(f / "vae" / "config.json", latent_channels=8), "vae: .* has the shape"),
        (lambda f: poison(f / "unet" / "diffusion_pytorch_model.safetensors"), "conv_in.bias holds NaN or infinity"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(stable, tmp_path, damage, message):
    shutil.copytree(stable[1], tmp_path / "theirs")
    damage(tmp_path / "theirs")
    with pytest.raises(InputError, match=message):
        converted(tmp_path / "theirs", tmp_path)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def poison(path):
    tensors = load_file(path)
    tensors["conv_in.bias"][0] = float("nan")
    save_file(tensors, path)


def test_text_encoders_in_parts_or_half_precision_become_one_file(stable, tmp_path):
    shutil.copytree(stable[1], tmp_path / "theirs")
    encoder = tmp_path / "theirs" / "text_encoder"
    (encoder / "model.safetensors").rename(encoder / "model.fp16.safetensors")
    folder = converted(tmp_path / "theirs", tmp_path)
    assert same_tensors(load_file(folder / "text" / "model.safetensors"), load_file(encoder / "model.fp16.safetensors"))
    assert sf.load(folder).sample(1, prompt="a", steps=1).array.shape == (1, 16, 16, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "two kinds of labels"),
        ({"labels": LabelSet(), "schedule": ScheduleConfig("cosine", 500)}, "told 1000·t, but the schedule has 500"),
        ({"labels": LabelSet(), "schedule": ScheduleConfig("edm", 1000, False)}, "'edm' has α = 1"),
        (
            {"labels": LabelSet(), "autoencoder": AutoencoderConfig(latent_channels=3), "size": (16, 16)},
            "no pipeline for latents",
        ),
        (
            {
                "labels": LabelSet(),
                "network": UNetConfig(**SMALL, context=384),
                "text": TextSpec("minilm", 8, source="elsewhere", sha256="0"),
            },
            "no place for the text encoder 'minilm'",
        ),
    ],
)
def test_what_diffusers_has_no_pipeline_for_is_named(tmp_path, change, message):
    described = own_spec(**{"network": UNetConfig(**SMALL, labels=() if "labels" in change else (2, 3)), **change})
    with pytest.raises(InputError, match=message):
        to_pipeline(tmp_path / "out", described, UNet(described.network).state_dict(), Parts())
    assert not (tmp_path / "out").exists()
