from collections import Counter

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


def test_pairs_of_concept_and_style_are_held_out():
    whole, train, held_out = emoji("food,smileys"), emoji("food,smileys:train"), emoji("food,smileys:held-out")
    assert len(train) + len(held_out) == len(whole)
    assert 0.03 < len(held_out) / len(whole) < 0.08
    style = list(whole.kinds).index("style")

    def pairs(data):
        return {(caption, int(row[style])) for caption, row in zip(data.captions, data.labels, strict=True)}

    assert not pairs(train) & pairs(held_out)
    assert pairs(train) | pairs(held_out) == pairs(whole)
    known = Counter(caption for caption, _ in pairs(emoji(":train")))
    assert all(known[caption] >= 2 for caption, _ in pairs(emoji(":held-out")))  # in other styles
    assert len({caption for caption, _ in pairs(held_out)}) == len(held_out)  # only one style of a concept
    assert {int(row[style]) for row in held_out.labels} <= {int(row[style]) for row in train.labels}
    assert len(emoji(":train")) + len(emoji(":held-out")) == len(emoji())


def test_a_part_that_there_is_not():
    with pytest.raises(InputError, match="after the colon stands train or held-out, not 'test'"):
        emoji("food:test")


def test_tags_are_further_words_for_a_picture():
    data = emoji("food,noto")
    assert "fruit" in data.tags[data.captions.index("red apple")]
