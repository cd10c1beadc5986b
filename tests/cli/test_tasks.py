"""The verbs edit, inpaint, batch and interpolate: what they write and say, and how mistakes end."""

import json

import numpy as np
import pytest
from PIL import Image

from factory import NETWORK, network, spec, text_model, texts_of
from sfumato.cli.main import main
from sfumato.conditioning.labels import LabelSet
from sfumato.generation.model import Model
from sfumato.generation.model import load as load_model
from sfumato.models.folder import save_folder


def run(*words):
    return main([str(word) for word in words])


def array(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def mask(tmp_path):
    path, white = tmp_path / "mask.png", np.zeros((8, 12), np.uint8)
    white[2:5, 3:9] = 255
    Image.fromarray(white).save(path)
    return path


@pytest.fixture
def reader(tmp_path):
    made = text_model()
    save_folder(tmp_path / "reader", made.spec, made.network.state_dict(), "average")
    return tmp_path / "reader"


@pytest.fixture
def grey(tmp_path):
    from dataclasses import replace

    description = spec(labels=LabelSet(), network=replace(NETWORK, in_channels=1))
    save_folder(tmp_path / "grey", description, network(description).state_dict(), "average")
    return tmp_path / "grey"


# ---- edit ------------------------------------------------------------------------------------------------------------


def test_edit_writes_variations_a_grid_and_says_how(model, photo, tmp_path, capsys):
    out = tmp_path / "o"
    words = ("--strength", 0.5, "--n", 3, "--steps", 5, "--seed", 4, "--label", "food")
    assert run("edit", model, photo, "--out", out, *words, "--show-table") == 0
    assert sorted(path.name for path in out.iterdir()) == ["0000.png", "0001.png", "0002.png", "grid.png"]
    said = capsys.readouterr().out
    assert "3 pictures in" in said
    assert "strength 0.5, unipc-2 from t = 0.5, 5 steps, 5 network calls, seeds 4…6" in said
    assert "    0  0.50000" in said  # the table
    assert array(out / "0001.png").shape == (8, 12, 3)
    assert run("edit", model, photo, "--out", tmp_path / "alone", *words, "--n", 1, "--seed", 5) == 0
    assert np.abs(array(out / "0001.png").astype(int) - array(tmp_path / "alone" / "0000.png")).max() <= 1
    facts = json.loads(texts_of(out / "0002.png")["sfumato"])
    assert (facts["task"], facts["seed"]) == ({"name": "edit", "strength": 0.5}, 6)
    assert "photo" not in json.dumps(facts)


@pytest.mark.parametrize("verb", ["edit", "inpaint", "batch"])
def test_tasks_are_guided_and_save_memory_as_samples_are(verb, model, photo, mask, tmp_path):
    (tmp_path / "rows.csv").write_text("label\nfood\n")
    on = {
        "edit": (photo, "--label", "food", "--n", 1, "--strength", 0.9),
        "inpaint": (photo, "--label", "food", "--n", 1, "--mask", mask),
        "batch": (tmp_path / "rows.csv", "--size", "12x8"),
    }[verb]
    saving = ("--dtype", "float16", "--offload", "disk", "--one-at-a-time", "--most-scores", 1000)
    shared = (verb, model, *on, "--steps", 5, "--guidance", 3)
    ways = {"plain": (), "saving": saving, "interval": ("--guidance-interval", 0.1, 0.5)}
    made, facts = {}, {}
    for way, words in ways.items():
        assert run(*shared, *words, "--out", tmp_path / way) == 0
        (path,) = sorted((tmp_path / way).glob("0*.png"))
        made[way] = array(path).astype(int)
        facts = json.loads(texts_of(path)["sfumato"])
    assert facts["guidance_interval"] == [0.1, 0.5]  # of the last
    assert 0 < np.abs(made["saving"] - made["plain"]).max() <= 8  # half precision
    assert (made["interval"] != made["plain"]).any()


def test_edit_takes_prompts_and_scales_when_asked(reader, photo, tmp_path):
    words = ("--prompt", "red cat", "--size", "8x4", "--n", 1, "--guidance-scale", 2, "--negative", "blue apple")
    assert run("edit", reader, photo, "--out", tmp_path / "o", *words) == 0
    assert array(tmp_path / "o" / "0000.png").shape == (4, 8, 3)


def test_a_grey_picture_is_a_picture_for_colour_and_not_the_other_way_round(model, grey, photo, tmp_path, capsys):
    plain = tmp_path / "grey.png"
    Image.open(photo).convert("L").save(plain)
    assert run("edit", model, plain, "--out", tmp_path / "o", "--n", 1) == 0
    assert run("edit", grey, plain, "--out", tmp_path / "g", "--n", 1) == 0
    assert array(tmp_path / "g" / "0000.png").shape == (8, 12)
    assert run("edit", grey, photo, "--out", tmp_path / "c") == 2
    assert "photo.png is in colour, and 'tiny' makes grey pictures; save it in grey" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strength", "0"], "strength is the time to start from"),
        (["--strength", "1.5"], "strength is the time to start from"),
        (["--strength", "nan"], "strength is the time to start from"),
        (["--strength", "0.5", "--steps", "501"], "from 1 to 500 (the schedule's steps up to 0.5)"),
        (["--solver", "tuned"], "tuned"),
        (["--size", "9"], "does not fit this network"),
        (["--size", "a"], "write WIDTHxHEIGHT"),
        (["--prompt", "a cat"], "reads no prompts"),
        (["--label", "fod"], "Did you mean 'food'"),
        (["--seed", "-1"], "a seed is a whole number"),
        (["--seed", str(2**63 - 1)], "a seed is a whole number"),
        (["--n", "0"], "number of pictures"),
    ],
)
def test_mistakes_in_edit_exit_with_2_and_write_no_picture(model, photo, tmp_path, capsys, words, message):
    out = tmp_path / "o"
    assert run("edit", model, photo, "--out", out, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(out.glob("*"))


def test_what_is_no_picture(model, tmp_path, capsys):
    (tmp_path / "a.png").write_text("no picture")
    assert run("edit", model, tmp_path / "a.png") == 2
    assert "a.png: not a picture" in capsys.readouterr().err
    assert run("edit", model, tmp_path / "none.png") == 2
    assert "none.png: no such file" in capsys.readouterr().err


# ---- inpaint ---------------------------------------------------------------------------------------------------------


def test_inpaint_keeps_what_is_black(model, photo, mask, tmp_path, capsys):
    out, known = tmp_path / "o", array(mask) == 0
    words = ("--mask", mask, "--n", 2, "--steps", 6, "--repeats", 2, "--jump", 3, "--solver", "ddpm")
    assert run("inpaint", model, photo, "--out", out, *words) == 0
    assert "19% new, ddpm, 3 steps 2 times from t = 1, 9 steps, 9 network calls" in capsys.readouterr().out
    for i in range(2):
        made = array(out / f"000{i}.png")
        assert np.array_equal(made[known], array(photo)[known])
        assert not np.array_equal(made, array(photo))


def test_outpaint_enlarges_the_canvas(model, photo, tmp_path):
    assert run("inpaint", model, photo, "--outpaint", 4, 0, 2, 6, "--out", tmp_path / "o", "--n", 1) == 0
    made = array(tmp_path / "o" / "0000.png")
    assert made.shape == (14, 18, 3)
    assert np.array_equal(made[:8, 4:16], array(photo))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either --mask MASK.png or --outpaint LEFT TOP RIGHT BOTTOM"),
        (["--mask", "MASK", "--outpaint", "1", "0", "0", "0"], "either --mask"),
        (["--mask", "OTHER"], "the mask is 8x8, the picture 12x8"),
        (["--mask", "BLACK"], "the mask is all black"),
        (["--mask", "WHITE"], "the mask is all white"),
        (["--mask", "none.png"], "none.png: no such file"),
        (["--outpaint", "0", "0", "0", "0"], "outpainting adds pixels"),
        (["--outpaint", "1", "0", "0", "0"], "a width of 13 does not fit this network"),
        (["--mask", "MASK", "--jump", "3"], "a jump of 3 does nothing without repeats"),
        (["--mask", "MASK", "--repeats", "0"], "repeats is a whole number from 1"),
        (["--mask", "MASK", "--feather", "-1"], "feather is a number of pixels"),
        (["--mask", "MASK", "--feather", "2"], "nothing to feather"),
    ],
)
def test_mistakes_in_inpaint_exit_with_2_and_write_no_picture(model, photo, mask, tmp_path, capsys, words, message):
    out, paths = tmp_path / "o", {"MASK": mask}
    for name, grey in (("OTHER", array(mask)[:, :8]), ("BLACK", array(mask) * 0), ("WHITE", array(mask) * 0 + 255)):
        paths[name] = tmp_path / f"{name}.png"
        Image.fromarray(grey).save(paths[name])
    assert run("inpaint", model, photo, "--out", out, *(paths.get(word, word) for word in words)) == 2
    assert message in capsys.readouterr().err
    assert not list(out.glob("*"))


# ---- batch -----------------------------------------------------------------------------------------------------------


def test_batch_makes_goes_on_and_tells_failures_at_the_end(reader, tmp_path, capsys, monkeypatch):
    file, out = tmp_path / "rows.csv", tmp_path / "o"
    file.write_text("prompt,seed\nred cat,1\nblue apple,2\nred,3\n")
    sample = Model.make
    monkeypatch.setattr(Model, "make", lambda self, request, n, **how: _broken(sample, self, request, n, how))
    assert run("batch", reader, file, "--out", out, "--steps", 2, "--guidance-scale", 2) == 1
    said = capsys.readouterr()
    assert "2 pictures made, 0 were there already" in said.out
    assert "1 rows of" in said.err
    assert "line 3: out of luck" in said.err
    monkeypatch.undo()
    assert run("batch", reader, file, "--out", out, "--steps", 2, "--guidance-scale", 2) == 0
    assert "1 pictures made, 2 were there already" in capsys.readouterr().out
    plain = load_model(reader).sample(1, prompt="blue apple", seed=2, steps=2, guidance_scale=2)[0]
    assert np.abs(array(out / "000001.png").astype(int) - plain).max() <= 1


def _broken(sample, self, request, n, how):
    from sfumato.errors import DivergedError

    if 2 in how["seed"]:
        raise DivergedError("out of luck")
    return sample(self, request, n, **how)


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        ("promt\nred\n", [], "rows.csv, line 1: there is no column 'promt'. Did you mean 'prompt'"),
        ("", [], "rows.csv holds no rows"),
        ("prompt\nred\nr\x07ed\n", [], "rows.csv, line 3: the prompt has the control character"),
        ("prompt\nred\n", ["--seed", "-1"], "rows.csv, line 2: a seed is a whole number"),
        ("prompt\nred\n", ["--size", "9"], "rows.csv, line 2: a height of 9 does not fit"),
        ("prompt\nred\n", ["--batch", "0"], "batch must be at least 1"),
    ],
)
def test_mistakes_in_batch_exit_with_2_and_write_nothing(reader, tmp_path, capsys, content, words, message):
    (tmp_path / "rows.csv").write_text(content)
    assert run("batch", reader, tmp_path / "rows.csv", "--out", tmp_path / "o", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


# ---- interpolate -----------------------------------------------------------------------------------------------------


def test_interpolate_between_pictures_prompts_and_seeds(model, reader, photo, tmp_path, capsys):
    assert run("interpolate", model, photo, photo, "--n", 2, "--steps", 4, "--out", tmp_path / "p") == 0
    assert "heun, 4 steps up and down" in capsys.readouterr().out
    words = ("--n", 3, "--solver", "ddim")
    assert run("interpolate", reader, "--prompts", "red cat", "blue", *words, "--out", tmp_path / "q") == 0
    assert run("interpolate", reader, "--seeds", 4, 9, "--prompt", "red", *words, "--out", tmp_path / "s") == 0
    assert "ddim, 4 steps, 4 network calls" in capsys.readouterr().out
    plain = load_model(reader)
    last = plain.sample(1, seed=9, prompt="red", solver="ddim")[0]
    assert np.abs(array(tmp_path / "s" / "0002.png").astype(int) - last).max() <= 1
    last = plain.sample(1, seed=0, prompt="blue", solver="ddim")[0]
    assert np.abs(array(tmp_path / "q" / "0002.png").astype(int) - last).max() <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say between what: two pictures, --prompts A B, or --seeds A B"),
        (["PHOTO"], "say between what"),
        (["PHOTO", "PHOTO", "--seeds", "1", "2"], "say between what"),
        (["--seeds", "1", "2", "--prompts", "a", "b"], "say between what"),
        (["--prompts", "a", "b"], "reads no prompts"),
        (["--prompts", "a", "b", "--label", "food"], "between --prompts there are no labels"),
        (["PHOTO", "PHOTO", "--prompt", "a"], "--prompt is for what is between --seeds"),
        (["PHOTO", "PHOTO", "--steps", "0"], "steps of an inversion"),
        (["--seeds", "1", "-2"], "a seed is a whole number"),
        (["--seeds", "1", "2", "--solver", "ddpm"], "draws noise of each seed"),
        (["--seeds", "1", "2", "--n", "1"], "at least the two"),
    ],
)
def test_mistakes_in_interpolate_exit_with_2(model, photo, tmp_path, capsys, words, message):
    words = [photo if word == "PHOTO" else word for word in words]
    assert run("interpolate", model, *words, "--out", tmp_path / "o") == 2
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "o").glob("*"))
