"""The page of the claims says what the numbers say."""

from bench.claims_page import page


def number(value, low, high):
    return {"value": value, "low": low, "high": high}


def rows(**more):
    """FD 50 of 1000 ancestral steps, and so much above that of others."""
    found = {name.replace("_", "-"): {"fd": number(50 + d[0], 0, 99), "more": number(*d)} for name, d in more.items()}
    return {**found, "ddpm-1000": {"fd": number(50.0, 49.0, 51.5), "seconds": 9}}


def bits(value, **parts):
    return {
        "bits": number(value, 0, 0) | {"error": 0.0125},
        "parts": {name: {"value": part, "error": 0.0} for name, part in parts.items()},
        "n": 8,
        "data": "clothes/test",
    }


FACTS = {
    "models": {
        "clothes": {
            "model": {
                "weights_sha256": "abcdef" * 10,
                "default": {"solver": "unipc-2", "spacing": "visible"},
                "about": "Unseen.",
            },
            "distances at n = 20": {
                "metric": "FD-Toy",
                "intervals": "90%, method 'half', 20 draws",
                "reference": "all 30 pictures",
                "rows": {
                    **rows(ddim_10=(5.0, 1.0, 8.0), ddim_50=(-0.5, -2.0, 1.0), default_5=(-3.0, -4.0, -2.0)),
                    "real": {"fd": number(7.0, 6.0, 8.0), "more": number(-43.0, -44.0, -42.0)},
                },
            },
            "distances at n = 40": {
                "metric": "FD-Toy",
                "intervals": "90%, method 'half', 20 draws",
                "reference": "all 30 pictures",
                "rows": {"ddim-10": {"fd": number(33.0, 31.0, 35.0)}},
            },
            "bits": {"10 steps": bits(7.25, L_0=5.5), "1000 steps": bits(3.5, L_0=1.25), "flow": bits(2.875)},
        }
    }
}


def test_every_number_has_its_place():
    lines = page(FACTS).splitlines()
    assert "| sampler | clothes, n = 20: FD-Toy | above ancestral | clothes, n = 40: FD-Toy |" in lines
    assert "| DDIM, 10 steps | 55.0 [0.0, 99.0] | +5.0 [+1.0, +8.0] | 33.0 [31.0, 35.0] |" in lines
    assert "| ancestral, 1000 steps | 50.0 [49.0, 51.5] | – | – |" in lines
    assert "| other real pictures | 7.0 [6.0, 8.0] | -43.0 [-44.0, -42.0] | – |" in lines
    assert "| bits per dimension | clothes, n = 8 |" in lines
    assert "| bound, 10 steps | 7.250 ± 0.013 (5.50) |" in lines
    assert "| probability-flow ODE | 2.875 ± 0.013 |" in lines


def test_a_difference_counts_only_beyond_its_interval():
    text = page(FACTS)
    assert (
        "- On clothes, than 1000 ancestral steps: farther from real pictures at 10 steps (+10%), no different at 50 "
        "steps (-1%)." in text
    )
    assert "- On clothes, than 1000 ancestral steps: nearer to real pictures at 5 steps (-6%)." in text


def test_says_how_it_was_measured():
    text = page(FACTS)
    for word in (
        "90% intervals",
        "weights abcdefabcdef",
        "default `unipc-2`, spacing `visible`",
        "all 30 pictures",
        "Unseen.",
    ):
        assert word in text
