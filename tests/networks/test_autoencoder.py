import math
from dataclasses import replace

import pytest
import torch

from sfumato.errors import InputError
from sfumato.networks.autoencoder import Autoencoder, Posterior
from sfumato.networks.autoencoder_config import AutoencoderConfig

TINY = AutoencoderConfig(channels=8, multipliers=(1, 2, 2), blocks=1, groups=4)


def awake(network):
    """The same network with every weight random, so that all branches take part."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2)
    return network.eval()


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, in_channels=1, latent_channels=3, attention_levels=(1,), mid_attention=False),
        replace(TINY, multipliers=(2,), blocks=2, quant_conv=False),
        replace(TINY, multipliers=(1, 1, 2, 3)),
    ],
    ids=["plain", "grey with attention", "one level", "four levels"],
)
def test_shapes_and_a_gradient_for_every_parameter(config):
    net, f = awake(Autoencoder(config)), config.factor
    x = torch.randn(2, config.in_channels, 3 * f, 2 * f)
    posterior = net.encode(x)
    assert posterior.mean.shape == posterior.log_variance.shape == (2, config.latent_channels, 3, 2)
    decoded = net.decode(posterior.sample(torch.randn_like(posterior.mean)))
    assert decoded.shape == x.shape
    ((decoded * torch.randn_like(decoded)).sum() + posterior.kl().sum()).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        if "qkv.bias" not in name:  # a third of it, of the keys, cancels in the softmax
            assert p.grad.abs().sum() > 0, name


def test_factor_is_two_to_the_levels_less_one():
    assert [AutoencoderConfig(multipliers=(1,) * n).factor for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert Autoencoder(TINY).factor == 4


def test_pictures_do_not_mix():
    net, x = awake(Autoencoder(TINY)), torch.randn(3, 3, 8, 12)
    whole = net.encode(x)
    for i in range(3):
        torch.testing.assert_close(net.encode(x[i : i + 1]).mean, whole.mean[i : i + 1], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            net.decode(whole.mean[i : i + 1]), net.decode(whole.mean)[i : i + 1], atol=1e-5, rtol=1e-5
        )


def test_kl_is_the_integral():
    """∫ q·log(q/p) by the trapezoid rule, coordinate by coordinate; and 0 exactly for the prior itself."""
    mean, log_variance = torch.randn(2, 1, 2, 2, dtype=torch.float64), torch.randn(2, 1, 2, 2, dtype=torch.float64)
    z = torch.linspace(-30, 30, 60_001, dtype=torch.float64)

    def log_normal(m, v):
        return -0.5 * ((z - m) ** 2 / v + math.log(2 * math.pi * v))

    expected = torch.zeros(2, dtype=torch.float64)
    for n in range(2):
        for m, v in zip(mean[n].flatten().tolist(), log_variance[n].exp().flatten().tolist(), strict=True):
            q = log_normal(m, v)
            expected[n] += torch.trapezoid(q.exp() * (q - log_normal(0.0, 1.0)), z)
    torch.testing.assert_close(Posterior(mean, log_variance).kl(), expected, rtol=1e-9, atol=1e-9)
    assert Posterior(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)).kl().tolist() == [0.0]


def test_samples_have_the_stated_mean_and_variance():
    posterior = Posterior(torch.tensor([[[[2.0]]]]), torch.tensor([[[[math.log(9.0)]]]]))
    assert posterior.mode.item() == 2.0
    assert posterior.sample(torch.zeros(1, 1, 1, 1)).item() == 2.0
    assert posterior.sample(torch.ones(1, 1, 1, 1)).item() == pytest.approx(5.0)


def test_log_variances_are_bounded_and_means_are_not():
    moments = torch.tensor([-100.0, 7.0, -100.0, 100.0])[None, :, None, None]
    posterior = Posterior.from_moments(moments)
    assert posterior.mean.flatten().tolist() == [-100.0, 7.0]
    assert posterior.log_variance.flatten().tolist() == [-30.0, 20.0]


def test_latents_are_shifted_then_scaled_and_back():
    z = torch.randn(2, 4, 3, 3)
    one = Autoencoder(replace(TINY, latent_shift=(0.5,), latent_scale=(2.0,)))
    torch.testing.assert_close(one.to_latents(z), (z - 0.5) * 2)
    each = Autoencoder(replace(TINY, latent_shift=(1.0, 2.0, 3.0, 4.0), latent_scale=(1.0, 10.0, 100.0, 0.1)))
    torch.testing.assert_close(each.to_latents(z)[:, 2], (z[:, 2] - 3) * 100)
    for net in (one, each):
        torch.testing.assert_close(net.from_latents(net.to_latents(z)), z, rtol=1e-5, atol=1e-6)


def test_a_fresh_one_starts_with_silent_residual_branches():
    net = Autoencoder(TINY)
    silent = [
        name for name, p in net.named_parameters() if name.endswith(("conv2.weight", "out.weight")) and not p.any()
    ]
    assert len(silent) == len([n for n, _ in net.named_parameters() if n.endswith(("conv2.weight", "out.weight"))]) > 10
    assert net.decode(torch.randn(1, 4, 2, 2)).std() > 0


def test_stored_weights_make_the_same_network():
    net = awake(Autoencoder(TINY))
    again = Autoencoder.from_tensors(TINY, net.state_dict())
    x = torch.randn(1, 3, 8, 8)
    assert torch.equal(net.encode(x).mean, again.encode(x).mean)
    assert not any(p.requires_grad for p in again.parameters())
    broken = {**net.state_dict(), "decoder.enter.bias": torch.full((16,), math.nan)}
    with pytest.raises(InputError, match=r"decoder.enter.bias holds NaN"):
        Autoencoder.from_tensors(TINY, broken)


def test_what_does_not_fit_is_told():
    net = Autoencoder(TINY)
    with pytest.raises(InputError, match=r"takes pictures \(N, 3, H, W\), not \(1, 1, 8, 8\)"):
        net.encode(torch.zeros(1, 1, 8, 8))
    with pytest.raises(InputError, match=r"a height of 6 does not fit .* multiple of 4. Nearest that fit: 4 or 8"):
        net.encode(torch.zeros(1, 3, 6, 8))
    with pytest.raises(InputError, match=r"a width of 2 .* Nearest that fit: 4"):
        net.encode(torch.zeros(1, 3, 8, 2))
    with pytest.raises(InputError, match=r"takes latents \(N, 4, h, w\), not \(1, 3, 8, 8\)"):
        net.decode(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels must be at least 1"),
        ({"multipliers": ()}, "at least one level"),
        ({"multipliers": (1, 0)}, r"multipliers\[1\] must be at least 1"),
        ({"attention_levels": (3,)}, "attention level 3 does not exist; there are levels 0 … 2"),
        ({"latent_shift": (1.0, 2.0)}, "one for each of the 4 latent channels, not 2"),
        ({"latent_scale": (0.0,)}, "latent_scale must be above 0"),
        ({"latent_shift": (math.nan,)}, "latent_shift holds NaN"),
    ],
)
def test_impossible_shapes(changes, message):
    with pytest.raises(InputError, match=message):
        replace(TINY, **changes)
