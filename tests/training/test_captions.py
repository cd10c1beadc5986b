from collections import Counter

import numpy as np
import pytest

from sfumato.data.dataset import Dataset
from sfumato.errors import InputError
from sfumato.training.captions import Captions

DATA = Dataset(
    name="two",
    images=np.zeros((2, 8, 8, 3), np.uint8),
    labels=np.array([[0, 1], [1, -1]]),
    kinds={"group": ("food", "animals"), "style": ("noto", "fluent")},
    captions=("red apple", "cat"),
    tags=(("fruit", "sweet", "healthy", "tree"), ()),
)
MADE = Captions(DATA, seed=3, spoken=("style",), dropout=0.1)
MANY = [MADE.text(0, n) for n in range(4000)]


def test_a_text_is_a_function_of_seed_and_number():
    assert [MADE.text(0, n) for n in (5, 3, 5)] == [MANY[5], MANY[3], MANY[5]]
    assert MANY[:50] != [Captions(DATA, 4, ("style",), 0.1).text(0, n) for n in range(50)]


def test_how_often_what_is_said():
    """Shares of 4,000 texts, within four standard deviations."""
    said = [text for text in MANY if text]
    shares = {
        "empty": (1 - len(said) / 4000, 0.1),
        "caption": (np.mean(["red apple" in text for text in said]), 0.8),
        "style": (np.mean(["fluent style" in text for text in said]), 0.8),
    }
    for what, (found, expected) in shares.items():
        assert abs(found - expected) < 4 * (expected * (1 - expected) / 3500) ** 0.5, what
    tags = [len(set(text.split(", ")) & set(DATA.tags[0])) for text in said]
    with_caption = Counter(count for count, text in zip(tags, said, strict=True) if "apple" in text)
    without = Counter(count for count, text in zip(tags, said, strict=True) if "apple" not in text)
    assert set(with_caption) == {0, 1, 2, 3}
    assert set(without) == {1, 2, 3}  # never nothing
    assert max(with_caption.values()) < 1.2 * min(with_caption.values())


def test_no_tag_is_said_twice():
    assert all(len(parts) == len(set(parts)) for parts in (text.split(", ") for text in MANY))


def test_a_picture_without_tags_and_without_a_label_has_its_caption():
    assert {MADE.text(1, n) for n in range(100)} == {"", "cat"}


def test_what_one_would_ask_for():
    assert [MADE.plain(0), MADE.plain(1)] == ["red apple, fluent style", "cat"]
    assert set(MADE.everything()) == {"red apple, fluent style", "fruit", "sweet", "healthy", "tree", "cat"}


def test_data_that_says_nothing():
    bare = Dataset("bare", DATA.images, DATA.labels, DATA.kinds)
    with pytest.raises(InputError, match="bare has no captions to learn from"):
        Captions(bare, 0)
    with pytest.raises(InputError, match=r"no labels of kind 'stile'\. Did you mean 'style'"):
        Captions(DATA, 0, ("stile",))
