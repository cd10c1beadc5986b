"""Progressive coding by a model whose errors are known, and the files that show it."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from exact import Gaussian
from factory import NETWORK
from known import SHORT, Known, exact, gaussian_bytes
from sfumato.diffusion.config import ScheduleConfig
from sfumato.errors import InputError
from sfumato.evaluation.likelihood import bits_per_dimension
from sfumato.evaluation.progressive import progressive_coding
from sfumato.evaluation.progressive_plot import draw_curves, draw_pictures, need_matplotlib
from tiny import latent_model


def test_ends_at_the_bound_and_without_error():
    known, _ = exact()
    data = gaussian_bytes(20)
    seen = []
    got = progressive_coding(known, data, 20, seed=4, progress=lambda *calls: seen.append(calls))
    whole = bits_per_dimension(known, data, 20, seed=4)
    np.testing.assert_allclose(got.times, np.arange(10, -1, -1) / 10)
    assert got.rate[0] == pytest.approx(whole.parts["L_T"].value)
    assert got.rate[-2] == pytest.approx(whole.bits.value - whole.parts["L_0"].value)
    assert got.rate[-1] == pytest.approx(whole.bits.value)
    assert got.rmse[-1] == 0
    assert (np.diff(got.rate) > 0).all()
    assert seen[-1] == (200, 200)


def test_of_a_model_that_has_learned_its_variance():
    wide = {"network": replace(NETWORK, labels=(2, 3), out_channels=6), "variance": "interpolated"}
    known = Known(lambda x, t: x * 0, further=lambda x, t: x, **wide)
    data = gaussian_bytes(4)
    got = progressive_coding(known, data, 3)
    assert got.rate[-1] == pytest.approx(bits_per_dimension(known, data, 3).bits.value)
    assert got.rate[-1] != pytest.approx(bits_per_dimension(known, data, 3, variance="small").bits.value)
    assert json.loads(got.to_json())["settings"]["variance"] == "learned"
    assert "variance learned, decoder erf" in str(got)


def test_the_error_is_that_of_the_posterior_mean():
    """√(s²·σ²/(α²·s² + σ²)) for data of standard deviation s, by T values of t: the RMSE of x̂0 = E[x_0|x_t]."""
    schedule = ScheduleConfig("cosine", 12)
    truth = Gaussian(schedule.build(), 0.1, 0.2)
    known = Known(lambda x, t: truth.denoise(x.double(), t).to(x), schedule)
    got = progressive_coding(known, gaussian_bytes(60), 60)
    for t, rmse in zip(got.times[:-1], got.rmse[:-1], strict=True):
        sigma = truth.schedule.sigma(float(t))
        expected = 127.5 * (0.2**2 * sigma**2 / truth.marginal(float(t))[1]) ** 0.5
        assert rmse == pytest.approx(expected, rel=0.03)


def test_shows_what_was_said_when_so_many_bits_had_come():
    """A denoiser that says 1 - t everywhere: a picture's grey tells when it is from."""
    known = Known(lambda x, t: x * 0 + (1 - t))
    data = gaussian_bytes(20)
    got = progressive_coding(known, data, 20)
    rows, columns = got.pictures.shape[:2]
    assert rows == 8
    assert columns == len(got.columns) > 1
    greys = np.rint(127.5 * (2 - got.times[got.columns[:-1]]))
    for k in range(rows):
        for column, grey in enumerate(greys):
            assert (got.pictures[k, column] == grey).all()
    assert np.array_equal(got.pictures[:, -1], data.images[:8])


def test_shows_when_a_half_of_the_bits_have_come_a_quarter_and_so_on():
    known, _ = exact(ScheduleConfig("cosine", 100))
    got = progressive_coding(known, gaussian_bytes(3), 3)
    assert got.rate[-2] > got.rate[-1] / 2  # L_0 is not all that comes last
    first = [next(i for i, rate in enumerate(got.rate) if rate >= got.rate[-1] / 2**k) for k in range(9)]
    assert got.columns.tolist() == sorted(set(first))


def test_says_what_it_depends_on(tmp_path):
    known, _ = exact()
    data = gaussian_bytes(6)
    got = progressive_coding(known, data, 3, seed=2)
    facts = json.loads(got.to_json())
    assert (facts["n"], facts["pictures"], facts["seed"], facts["steps"]) == (3, 6, 2, 10)
    assert facts["data_fingerprint"] == data.fingerprint
    assert facts["rate"][-1] == got.rate[-1]
    for word in ("3 of 6 pictures of bytes", "seed 2", "tiny, unsaved weights", "10 steps", "bits/dim", "RMSE"):
        assert word in str(got)


@pytest.mark.parametrize("channels", [1, 3])
def test_drawn(tmp_path, channels):
    known = Known(lambda x, t: x * 0, network=replace(NETWORK, in_channels=channels, labels=(2, 3)))
    data = gaussian_bytes(4)
    got = progressive_coding(known, replace(data, images=data.images[..., :channels]), 3)
    draw_curves(got, tmp_path / "curve.svg")
    draw_pictures(got, tmp_path / "sheet.png")
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 100


def test_bad_input(monkeypatch):
    with pytest.raises(InputError, match="diffuses latents"):
        progressive_coding(latent_model(), gaussian_bytes(3), 2)
    with pytest.raises(InputError, match="from 2 to 10"):
        progressive_coding(Known(lambda x, t: x, SHORT), gaussian_bytes(3), 2, steps=20)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"sfumato\[plot\]"):
        need_matplotlib()
