import math

import pytest
import torch
import torch.nn.functional as F

from factory import NETWORK
from sfumato.errors import InputError
from sfumato.networks.attend import attend
from sfumato.networks.condition import Condition, Context
from sfumato.networks.config import UNetConfig
from sfumato.networks.transformer import CrossAttention, FeedForward, TextEncoder, Transformer, TransformerBlock
from sfumato.networks.unet import UNet

GENERATOR = torch.Generator().manual_seed(3)


def awake(layer):
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=GENERATOR) * 0.3)
    return layer.eval()


def test_attention_is_the_textbook_formula():
    q, k, v = (torch.randn(2, 3, n, 4, generator=GENERATOR) for n in (5, 6, 6))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 0, 1]], dtype=torch.bool)
    found = attend(q, k, v, mask)
    for n in range(2):
        for head in range(3):
            for place in range(5):
                score = torch.tensor([float(q[n, head, place] @ row) / 2 for row in k[n, head]])
                score[~mask[n]] = -math.inf
                weight = score.exp() / score.exp().sum()
                torch.testing.assert_close(found[n, head, place], weight @ v[n, head])


@torch.no_grad()
def test_cross_attention_is_a_plain_reference():
    """Head by head in explicit loops; every head has its own slice of the projections."""
    layer = awake(CrossAttention(6, 5, heads=3))
    x, tokens = torch.randn(2, 4, 6, generator=GENERATOR), torch.randn(2, 7, 5, generator=GENERATOR)
    mask = torch.rand(2, 7, generator=GENERATOR) < 0.6
    mask[:, 0] = True
    q, k, v = layer.query(x), layer.key(tokens), layer.value(tokens)
    expected = torch.zeros(2, 4, 6)
    for n in range(2):
        for head in range(3):
            part = slice(2 * head, 2 * head + 2)
            score = q[n, :, part] @ k[n, :, part].T / math.sqrt(2)
            score[:, ~mask[n]] = -math.inf
            expected[n, :, part] = score.softmax(1) @ v[n, :, part]
    torch.testing.assert_close(layer(x, Context(tokens, mask)), layer.out(expected))


@torch.no_grad()
def test_the_gate_of_the_feed_forward_layer():
    layer = awake(FeedForward(4))
    x = torch.randn(3, 4, generator=GENERATOR)
    both = x @ layer.enter.weight.T + layer.enter.bias
    gate = both[:, 16:] * 0.5 * (1 + torch.erf(both[:, 16:] / math.sqrt(2)))
    expected = (both[:, :16] * gate) @ layer.leave.weight.T + layer.leave.bias
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_a_transformer_by_hand():
    layer = awake(Transformer(8, heads=2, context=5, depth=1, groups=4))
    x = torch.randn(2, 8, 3, 2, generator=GENERATOR)
    context = Context(torch.randn(2, 4, 5, generator=GENERATOR), None)
    (block,) = layer.blocks
    assert isinstance(block, TransformerBlock)
    assert block.norm2 is not None
    assert block.cross_attention is not None
    h = layer.enter(layer.norm(x)).flatten(2).transpose(1, 2)
    own = F.layer_norm(h, (8,), block.norm1.weight, block.norm1.bias)
    h = h + block.self_attention(own, Context(own, None))
    h = h + block.cross_attention(F.layer_norm(h, (8,), block.norm2.weight, block.norm2.bias), context)
    h = h + block.feed_forward(F.layer_norm(h, (8,), block.norm3.weight, block.norm3.bias))
    expected = x + layer.leave(h.transpose(1, 2).unflatten(2, (3, 2)))
    torch.testing.assert_close(layer(x, context), expected)


@torch.no_grad()
def test_words_that_are_not_there_change_nothing():
    encoder = awake(TextEncoder(vocabulary=5, length=4, features=8, layers=2))
    words = torch.tensor([[0, 2, 3, -1], [0, 2, 3, 4]])
    tokens, mask = encoder(words)
    assert mask.tolist() == [[True, True, True, False], [True, True, True, True]]
    encoder.places[3, 0] += 1.0  # only the second text has a fourth word
    changed = encoder(words).tokens
    torch.testing.assert_close(changed[0, :3], tokens[0, :3])
    assert not torch.allclose(changed[1, :3], tokens[1, :3])


def reading(**changes) -> UNet:
    shape = {"context": 8, "vocabulary": 5, "tokens": 4, **changes}
    return awake(UNet(UNetConfig(**{**vars(NETWORK), **shape})))


@torch.no_grad()
def test_a_network_sees_its_words_and_their_order():
    network, x = reading(), torch.randn(1, 3, 8, 8, generator=GENERATOR)
    outputs = [
        network(x, 0.5, Condition(words=torch.tensor([row])))
        for row in ([0, 1, 2, -1], [0, 2, 1, -1], [0, 1, -1, -1], [0, -1, -1, -1])
    ]
    for i, one in enumerate(outputs):
        assert all((one - other).abs().max() > 1e-4 for other in outputs[i + 1 :])


@torch.no_grad()
def test_words_read_beforehand_give_the_same():
    network, x = reading(), torch.randn(2, 3, 8, 8, generator=GENERATOR)
    words = torch.tensor([[0, 1, 2, -1], [0, 3, -1, -1]])
    told = Condition.of_context(network.read(words))
    torch.testing.assert_close(network(x, 0.5, told), network(x, 0.5, Condition(words=words)))
    alone = network(x[1:], 0.5, told[1:2])
    torch.testing.assert_close(alone, network(x, 0.5, told)[1:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_mean_of_the_tokens_goes_where_the_time_goes():
    """The same as a network without it whose embedded time is shifted by hand."""
    network = reading(pooled_text=True, vocabulary=0, tokens=0)
    plain = UNet(UNetConfig(**{**vars(network.config), "pooled_text": False}))
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("pooled.")})
    x, tokens = torch.randn(2, 3, 8, 8, generator=GENERATOR), torch.randn(2, 3, 8, generator=GENERATOR)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    told = Condition(context=tokens, mask=mask)
    means = torch.stack([tokens[0, :2].mean(0), tokens[1, 0]])
    plain.eval().time.register_forward_hook(lambda *_: network.time(_[1][0]) + network.pooled(means))
    torch.testing.assert_close(network(x, 0.5, told), plain(x, 0.5, told))
    assert (network(x, 0.5, told) - network(x, 0.5, Condition(context=tokens))).abs().max() > 1e-3
    with pytest.raises(InputError, match="pooled_text needs a context"):
        UNet(UNetConfig(**{**vars(NETWORK), "pooled_text": True}))


def test_texts_that_do_not_fit():
    network, x = reading(), torch.zeros(2, 3, 8, 8)
    with pytest.raises(InputError, match="needs a text for every picture"):
        network(x, 0.5)
    with pytest.raises(InputError, match=r"a text must be \(2, L, 8\), not \(2, 4, 7\)"):
        network(x, 0.5, Condition(context=torch.zeros(2, 4, 7)))
    with pytest.raises(InputError, match=r"not \(1, 4, 8\)"):
        network(x, 0.5, Condition(context=torch.zeros(1, 4, 8)))
    with pytest.raises(InputError, match="takes no text"):
        UNet(NETWORK)(x, 0.5, Condition(words=torch.zeros(2, 4, dtype=torch.long)))


@torch.no_grad()
def test_further_channels_go_in_behind_the_picture():
    network = awake(UNet(UNetConfig(**{**vars(NETWORK), "in_channels": 5, "out_channels": 3})))
    x, more = torch.randn(2, 3, 8, 8, generator=GENERATOR), torch.randn(2, 2, 8, 8, generator=GENERATOR)
    told = network(x, 0.5, Condition(pictures=more))
    assert told.shape == (2, 3, 8, 8)
    assert torch.equal(told, network(torch.cat([x, more], 1), 0.5))
    with pytest.raises(InputError, match="takes pictures"):
        network(x, 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": -1}, "context cannot be negative"),
        ({"vocabulary": 5}, "a vocabulary needs a context"),
        ({"context": 8, "vocabulary": 5}, "a vocabulary needs a context"),
        ({"context": 8, "attention_levels": (), "mid_attention": False}, "no level has any"),
        ({"heads": 3}, "3 heads do not divide the width 16"),
        ({"resample": "magic"}, "resample is one of"),
        ({"time_encoding": "edm"}, "time_encoding is one of"),
        ({"norm_eps": 0.0}, "norm_eps must be above 0"),
        ({"time_steps": 0}, "time_steps must be at least 1"),
    ],
)
def test_impossible_shapes(changes, message):
    with pytest.raises(InputError, match=message):
        UNetConfig(**{**vars(NETWORK), **changes})
