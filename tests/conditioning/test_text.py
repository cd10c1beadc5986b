import pytest
import torch

from sfumato.conditioning.text import TextSpec, WordReader, weighted
from sfumato.errors import InputError
from sfumato.networks.condition import Condition

SPEC = TextSpec("words", 4, ("red", "apple"), examples=("red", "apple", "red apple"))


def test_reading_gives_a_row_for_each_text():
    reading = WordReader(SPEC.vocabulary).read(["apple (red:2)", "", "pear"])
    assert reading.condition.words is not None
    assert reading.condition.words.tolist() == [[0, 2, 1, -1], [0, -1, -1, -1], [0, -1, -1, -1]]
    assert reading.weights.tolist() == [[1, 1, 2, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert [len(notes) for notes in reading.notes] == [0, 0, 1]


def test_captions_are_read_as_they_are():
    """As training meets them: nothing in them is a weight, and nothing stops it."""
    words = WordReader(SPEC.vocabulary).learn(["(red:1.5) apple", "red (12:30)", "\x07 apple"]).words
    assert words is not None
    assert words.tolist() == [[0, 1, 2, -1], [0, 1, -1, -1], [0, 2, -1, -1]]


def test_examples_are_drawn_by_seed():
    drawn = SPEC.drawn(range(300))
    assert set(drawn) == set(SPEC.examples)
    assert drawn[7:9] == SPEC.drawn([7, 8])
    assert TextSpec("words", 4, ("red",)).drawn([1, 2]) == ("", "")


def test_a_weight_moves_a_token_away_from_the_empty_text_or_towards_it():
    context = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    weights = torch.ones(3, 4)
    weights[1, 2], weights[2, 0], weights[2, 3] = 1.5, 0.0, 10.0
    found = weighted(Condition(context=context), weights).context
    assert found is not None
    for text in range(3):
        for place in range(4):
            w, empty = weights[text, place], context[0, place]
            expected = empty + w * (context[text, place] - empty)
            torch.testing.assert_close(found[text, place], expected, rtol=1e-5, atol=1e-6)
            if w == 1:
                assert torch.equal(found[text, place], context[text, place])  # to the bit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "clap"}, "no encoder 'clap'. Did you mean 'clip'"),
        ({"length": 1}, "no room for a word"),
        ({"words": ()}, "vocabulary of 0 words"),
        ({"encoder": "clip"}, "'clip' with a vocabulary of 2 words"),
        ({"words": ("red", "red")}, "must differ"),
        ({"dropout": 1.5}, "share from 0 to 1"),
    ],
)
def test_impossible_descriptions(changes, message):
    with pytest.raises(InputError, match=message):
        TextSpec(**{"encoder": "words", "length": 4, "words": ("red", "apple"), **changes})
