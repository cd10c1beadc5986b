import pytest
import torch

from sfumato.networks import attend as module
from sfumato.networks.attend import attend

N, HEADS, QUERIES, KEYS, WIDTH = 2, 3, 11, 7, 4


def drawn(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


Q, K, V = (drawn(N, HEADS, length, WIDTH, seed=i) for i, length in enumerate((QUERIES, KEYS, KEYS)))
MASK = torch.tensor([[True] * KEYS, [True, False, True, True, False, False, False]])


def by_hand(mask):
    """softmax(q·kᵀ/√d)·v, one query after the other, in float64."""
    result = torch.empty(N, HEADS, QUERIES, WIDTH, dtype=torch.float64)
    for n in range(N):
        seen = [j for j in range(KEYS) if mask is None or mask[n, j]]
        for h in range(HEADS):
            for i in range(QUERIES):
                weights = torch.tensor([Q[n, h, i].double() @ K[n, h, j].double() for j in seen]) / WIDTH**0.5
                share = weights.double().exp() / weights.double().exp().sum()
                result[n, h, i] = sum(s * V[n, h, j].double() for s, j in zip(share, seen, strict=True))
    return result


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("most", [None, 1, N * HEADS * KEYS, 2 * N * HEADS * KEYS, 5 * N * HEADS * KEYS + 3, 10**9])
def test_pieces_give_the_same(mask, most):
    torch.testing.assert_close(attend(Q, K, V, mask, most).double(), by_hand(mask), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(attend(Q, K, V, mask, most), attend(Q, K, V, mask), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 4, QUERIES])
def test_no_piece_is_larger_than_allowed(rows, monkeypatch):
    sizes, real = [], module.F.scaled_dot_product_attention

    def watched(q, k, v, attn_mask=None):
        sizes.append(q.shape[2])
        return real(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(module.F, "scaled_dot_product_attention", watched)
    attend(Q, K, V, MASK, rows * N * HEADS * KEYS)
    assert max(sizes) == rows
    assert sum(sizes) == QUERIES
