import pytest

from sfumato.data.emoji import emoji
from sfumato.errors import InputError


def test_is_all_there():
    data = emoji()
    assert data.images.shape == (6501, 32, 32, 3)
    assert data.kinds["style"] == ("noto", "noto-v1", "fxemoji", "fluent", "fluent-flat")
    assert len(set(data.captions)) == 1663
    assert (data.labels >= 0).all()
    corners = data.images[:, [0, 0, -1, -1], [0, -1, 0, -1]].astype(int).mean((1, 2))
    assert (corners > 250).mean() > 0.8  # on white


def test_a_caption_goes_with_its_picture():
    """Red apples are red, green ones green, in every style."""
    data = emoji("food")
    colour = {
        c: [p[p.sum(-1) < 600].mean(0) for p, k in zip(data.images, data.captions, strict=True) if k == c]
        for c in ("red apple", "green apple")
    }
    assert all(c[0] > c[1] + 50 for c in colour["red apple"])
    assert all(c[1] > c[2] + 40 for c in colour["green apple"])
    assert len(colour["red apple"]) >= 4


def test_parts():
    food = emoji("food")
    assert set(food.labels[:, 0]) == {3}
    both = emoji("food, animals, noto")
    assert set(both.labels[:, 0]) == {2, 3}
    assert set(both.labels[:, 1]) == {0}
    assert both.name == "emoji/food, animals, noto"
    with pytest.raises(InputError, match="Did you mean 'animals'"):
        emoji("animal")
    assert len(emoji("flags,fxemoji")) == 1


def test_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        emoji().images[0] = 0
