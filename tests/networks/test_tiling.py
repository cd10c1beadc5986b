import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from sfumato.errors import InputError
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.networks.tiling import decode_tiled, encode_tiled, starts, tiled

CONFIG = AutoencoderConfig(channels=8, multipliers=(1, 2, 2), blocks=1, groups=4, mid_attention=False)


@pytest.mark.parametrize("length", [1, 8, 9, 13, 14, 15, 20, 100, 101, 512])
@pytest.mark.parametrize(("tile", "overlap"), [(8, 1), (8, 2), (8, 4), (64, 16)])
def test_tiles_cover_everything_and_overlap_enough(length, tile, overlap):
    begins = starts(length, tile, overlap)
    size = min(tile, length)
    assert (begins[0], begins[-1] + size) == (0, length)
    assert all(a < b <= a + tile - overlap for a, b in pairwise(begins))
    assert len(begins) == max(1, math.ceil((length - overlap) / (tile - overlap)))


def local(radius, unit_in=1, unit_out=1):
    """A network that sees `radius` steps of the grid on each side, and no further."""
    width = (2 * radius + 1) * unit_in
    layers = [nn.Conv2d(2, 3 * unit_out**2, width, stride=unit_in, padding=radius * unit_in), nn.PixelShuffle(unit_out)]
    return nn.Sequential(*layers).double().requires_grad_(False)


@pytest.mark.parametrize(("unit_in", "unit_out"), [(1, 1), (4, 1), (1, 4)], ids=["plain", "encodes", "decodes"])
@pytest.mark.parametrize("size", [(8, 8), (8, 19), (19, 30), (9, 8)])
def test_what_looks_no_further_than_a_quarter_of_the_overlap_is_not_changed(unit_in, unit_out, size):
    net, x = local(1, unit_in, unit_out), torch.randn(2, 2, *(side * unit_in for side in size), dtype=torch.float64)
    torch.testing.assert_close(tiled(net, x, 8, 4, unit_in, unit_out), net(x), rtol=1e-12, atol=1e-12)


def test_what_looks_further_is_changed():
    """So the equality above is one of the margins, and not of a tile that holds everything."""
    net, x = local(2), torch.randn(1, 2, 19, 30, dtype=torch.float64)
    assert (tiled(net, x, 8, 4, 1, 1) - net(x)).abs().max() > 1e-2


def test_the_weights_cross_linearly_over_the_middle_half_of_the_overlap():
    """Two tiles of 16 that overlap by 8 of which the first says 0 and the second 1: 2 · 0, a ramp of 4, 2 · 1."""
    said = iter([0.0, 1.0])
    found = tiled(lambda x: torch.full_like(x, next(said)), torch.zeros(1, 1, 1, 24), 16, 8, 1, 1)
    expected = [0.0] * 10 + [0.125, 0.375, 0.625, 0.875] + [1.0] * 10
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))


def test_a_constant_stays_a_constant():
    for size in (9, 23, 37):
        found = tiled(lambda x: x, torch.ones(1, 1, size, size + 1), 8, 3, 1, 1)
        torch.testing.assert_close(found, torch.ones(1, 1, size, size + 1), rtol=1e-6, atol=0)


def test_one_tile_of_one_picture_at_a_time_and_none_larger():
    shapes = []

    def watch(x):
        shapes.append(tuple(x.shape))
        return x[:, :1].repeat_interleave(8, 2).repeat_interleave(8, 3)

    found = tiled(watch, torch.zeros(2, 4, 512, 512), 64, 16, 1, 8)
    assert found.shape == (2, 1, 4096, 4096)
    assert set(shapes) == {(1, 4, 64, 64)}
    assert len(shapes) == 2 * 11**2


def test_a_picture_that_fits_in_a_tile_is_untouched_to_the_bit():
    net = awake(Autoencoder(CONFIG))
    x = torch.randn(1, 3, 32, 24)
    assert torch.equal(encode_tiled(net, x, 8, 2).mean, net.encode(x).mean)
    z = torch.randn(1, 4, 8, 6)
    assert torch.equal(decode_tiled(net, z, 8, 2), net.decode(z))


def awake(net):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.1)
    return net.eval().requires_grad_(False)


class Still(nn.Module):
    """Stands in the place of a normalisation, without looking at other positions."""

    def forward(self, x, beside=None):
        assert beside is None
        return x.tanh()


def test_an_autoencoder_without_normalisation_is_equal_in_tiles():
    """Its receptive field is finite: then tiles, with an overlap of four times that, change nothing."""
    net = awake(Autoencoder(AutoencoderConfig(channels=4, multipliers=(1, 2), blocks=1, groups=4, mid_attention=False)))
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, Still())
    net = net.double()
    x = torch.randn(1, 3, 300, 228, dtype=torch.float64)
    expected, found = net.encode(x), encode_tiled(net, x, 112, 56)  # the decoder sees 12 latents far
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.log_variance, expected.log_variance, rtol=1e-10, atol=1e-10)
    decoded = decode_tiled(net, expected.mean, 112, 56)
    torch.testing.assert_close(decoded, net.decode(expected.mean), rtol=1e-10, atol=1e-10)


def test_a_real_one_is_close_and_without_seams():
    net = awake(Autoencoder(CONFIG))
    x = torch.nn.functional.interpolate(torch.randn(1, 3, 24, 24), size=(192, 192), mode="bicubic").clamp(-1, 1)
    z = net.encode(x).mean
    whole, parts = net.decode(z), decode_tiled(net, z, 24, 8)
    spread = whole.std()
    assert (encode_tiled(net, x, 24, 8).mean - z).abs().mean() < 0.1 * z.std()
    assert (parts - whole).abs().mean() < 0.15 * spread

    butted = torch.cat([torch.cat([net.decode(w) for w in r.split(24, 3)], 3) for r in z.split(24, 2)], 2)

    def seam(picture):
        """How far the mean step from row to row and column to column is from that of the whole picture, at most."""
        change = [
            (picture.diff(dim=axis).abs() - whole.diff(dim=axis).abs()).mean((0, 1, 5 - axis)).abs().max()
            for axis in (2, 3)
        ]
        return max(change) / whole.diff(dim=2).abs().mean()

    assert seam(parts) < 0.12
    assert seam(butted) > 0.4


@pytest.mark.parametrize(("tile", "overlap"), [(8, 0), (8, 5), (1, 1)])
def test_impossible_tiles_are_told(tile, overlap):
    with pytest.raises(InputError, match=f"tiles of {tile} cannot overlap by {overlap}"):
        decode_tiled(Autoencoder(CONFIG), torch.zeros(1, 4, 16, 16), tile, overlap)


def test_a_size_that_does_not_fit_is_told():
    with pytest.raises(InputError, match="a width of 34 does not fit this autoencoder: it must be a multiple of 4"):
        encode_tiled(Autoencoder(CONFIG), torch.zeros(1, 3, 32, 34), 8, 2)
