import pytest

from sfumato.conditioning.words import Vocabulary, words_of
from sfumato.errors import InputError

KNOWN = Vocabulary(("apple", "red", "cherry", "bus", "o2"), length=5)


def read(text, weight=1.0):
    return KNOWN.tokens([(text, weight)])


def test_words_are_lower_case_without_punctuation():
    assert words_of("Eleven o’clock, O2-button: «ÉCLAIR»!") == ["eleven", "oclock", "o2", "button", "éclair"]


def test_a_vocabulary_of_texts_counts_words():
    made = Vocabulary.of(["red apple", "apple, Blue", "red red"], 8)
    assert made == Vocabulary(("red", "apple", "blue"), 8)
    assert made.size == 4


def test_every_text_begins_with_word_0_and_is_filled_up():
    assert read("Red, apple!") == ([0, 2, 1, -1, -1], [1.0] * 5, [])
    assert read("") == ([0, -1, -1, -1, -1], [1.0] * 5, [])


def test_weights_go_with_their_words():
    tokens = KNOWN.tokens([("red", 1.0), ("apple bus", 0.5)])
    assert tokens.ids == [0, 2, 1, 4, -1]
    assert tokens.weights == [1.0, 1.0, 0.5, 0.5, 1.0]


@pytest.mark.parametrize(("plural", "ids"), [("apples", [1]), ("cherries", [3]), ("buses", [4]), ("reds", [2])])
def test_a_plural_is_read_as_its_singular_and_told(plural, ids):
    tokens = read(plural)
    assert tokens.ids[1:2] == ids
    assert tokens.notes == [f"{plural!r} is read as {KNOWN.words[ids[0] - 1]!r}"]


def test_words_that_training_never_saw_are_told():
    tokens = read("red appel xyzzy")
    assert tokens.ids == [0, 2, -1, -1, -1]
    assert tokens.notes == ["left out, because training never saw it: 'appel', 'xyzzy'."]
    assert read("appel").notes == ["left out, because training never saw it: 'appel'. Did you mean 'apple'?"]


def test_what_does_not_fit_is_told():
    tokens = read("red apple red bus cherry apple")
    assert tokens.ids == [0, 2, 1, 2, 4]
    assert tokens.notes == ["only 4 words fit; cut off: cherry apple"]


def test_ten_thousand_words():
    tokens = read("red " * 10_000)
    assert tokens.ids == [0, 2, 2, 2, 2]
    assert tokens.notes == ["only 4 words fit; cut off: red red red red red red red red …"]
    assert len(read("unknown " * 10_000).notes[0]) < 120


def test_captions_without_words():
    with pytest.raises(InputError, match="no words to learn"):
        Vocabulary.of(["!", ""], 8)
