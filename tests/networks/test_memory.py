import pytest
import torch

from sfumato.errors import InputError
from sfumato.networks import attend as module
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.networks.condition import Condition
from sfumato.networks.config import UNetConfig
from sfumato.networks.memory import bounded
from sfumato.networks.unet import UNet

SHAPE = UNetConfig(channels=8, multipliers=(1, 2), attention_levels=(0, 1), head_channels=4, groups=4)
TEXT = UNetConfig(channels=8, multipliers=(1, 2), attention_levels=(0, 1), heads=2, groups=4, context=6)


def awake(network):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    return network.eval()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("config", [SHAPE, TEXT])
def test_a_bound_changes_no_result_and_is_kept_everywhere(config, masked, monkeypatch):
    network = awake(UNet(config))
    x = torch.randn(2, 3, 8, 8)
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3]) if masked else None
    condition = Condition(context=torch.randn(2, 5, 6), mask=mask) if config.context else None
    expected = network(x, 0.4, condition)
    assert bounded(lambda: network, 700) is network
    scores, real = [], module.F.scaled_dot_product_attention

    def watched(q, k, v, attn_mask=None):
        scores.append(q.shape[:3].numel() * k.shape[2])
        return real(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(module.F, "scaled_dot_product_attention", watched)
    torch.testing.assert_close(network(x, 0.4, condition), expected, rtol=0, atol=1e-6)
    assert max(scores) <= 700
    assert bounded(lambda: network, None) is network
    network(x, 0.4, condition)
    assert max(scores) > 700


def test_of_an_autoencoder():
    network = awake(Autoencoder(AutoencoderConfig(channels=8, multipliers=(1, 2), blocks=1, groups=4)))
    z = torch.randn(1, 4, 6, 6)
    expected = network.decode(z)
    torch.testing.assert_close(bounded(lambda: network, 100).decode(z), expected, rtol=0, atol=1e-6)


def test_a_bound_below_one():
    with pytest.raises(InputError, match="at least 1 score at once, not 0"):
        bounded(lambda: UNet(SHAPE), 0)
