"""Tables and pictures from made-up results."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bench.coverage.report import Evidence, draw_curves, draw_samples, put_tables, table
from PIL import Image

from sfumato.errors import InputError

SIZES = {"generator": 1000, "discriminator": 900}


def judged(**changes) -> dict:
    same = dict.fromkeys(("good", "precision", "recall", "density", "coverage"), 0.5)
    return {"modes": 20, "modes_named": 25, "kl": 0.1, "reverse_kl": 0.2, "n": 100, **same, **changes}


def run(name: str, seed: int, ways: dict) -> dict:
    curve = [{"steps": s, "losses": {"a": 0.7, "b": 0.6, "penalty": 0.0}, **judged()} for s in (5, 10)]
    settings = {"problem": "gaussians", "contestant": name, "seed": seed, "choice": {"lr": 0.0002, "penalty": 0.0}}
    settings |= {"plan": {"steps": 1500}, "batch": 64}
    return {"settings": settings, "parameters": SIZES, "curve": curve, "final": ways}


@pytest.fixture
def evidence() -> Evidence:
    gans = [run("dcgan", s, {"1 call": judged(modes=20 + s, reverse_kl=None if s else 0.2)}) for s in range(3)]
    ours = [run("diffusion", 0, {"20 steps": judged(), "50 steps": judged(kl=0.05)})]
    tried = {name: [{"lr": 0.0002, "penalty": 0.0}, {"lr": 0.001, "penalty": 0.1}] for name in ("dcgan", "diffusion")}
    real = {"gaussians": {"final": judged(modes=25), "look": judged(modes=24)}}
    costs = {
        "dcgan": {"step": 0.002, "samples": {"1 call": 0.01}},
        "diffusion": {"step": 0.001, "samples": {"20 steps": 1.0, "50 steps": 2.5}},
    }
    everything = {"real": real, "runs": [*gans, *ours]}
    return {**everything, "search": {"gaussians": tried}, "costs": {"gaussians": costs}}


def test_a_table(evidence: Evidence) -> None:
    lines = table(evidence, "gaussians").splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| real data | 25 | 25 | 0.100 | 0.200 |")
    assert lines[3].startswith("| DCGAN | 21 (20…22) | 25 | 0.100 | ∞ (0.200…∞) |")
    assert [line.split(" | ")[-1] for line in lines[2:]] == [" |", "0.01 |", "1.00 |", "2.50 |"]
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| diffusion, 20 steps", "| diffusion, 50 steps"]


def test_tables_replace_what_was_there(evidence: Evidence, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    marks = "<!-- gaussians -->\nold\n<!-- end of gaussians -->"
    page.write_text(f"Before\n{marks}\nbetween\n")
    with pytest.raises(InputError, match="no place for a table: <!-- gaussians training -->"):
        put_tables(evidence, page)
    page.write_text(f"Before\n{marks}\nbetween\n{marks.replace('gaussians', 'gaussians training')}\nafter\n")
    put_tables(evidence, page)
    first = page.read_text()
    assert "old" not in first
    assert first.startswith("Before\n<!-- gaussians -->\n\n| | modes |")
    assert "between\n<!-- gaussians training -->\n\n| | parameters |" in first
    assert (
        "| DCGAN | 1,000 generator + 900 discriminator | 0.0002 (0.0002, 0.001, γ 0.1) | 2.0 ms | 1,500 | 96,000 |"
        in first
    )
    assert first.endswith("after\n")
    put_tables(evidence, page)
    assert page.read_text() == first


def test_pictures(evidence: Evidence, tmp_path: Path) -> None:
    draw_curves(evidence, tmp_path / "curves.png")
    sources = ("real", "dcgan", "diffusion")
    points = {name: torch.randn(50, 2) for name in sources}
    draw_samples({"a": points, "b": {name: torch.rand(64, 3, 12, 12) for name in sources}}, tmp_path / "samples.png")
    for name in ("curves", "samples"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert min(image.size) > 200
