import pytest

from sfumato.conditioning.prompt import parse_prompt
from sfumato.errors import InputError


@pytest.mark.parametrize(
    ("prompt", "spans"),
    [
        ("", ()),
        (" \t\n ", ()),
        ("a red\n\tapple", (("a red apple", 1.0),)),
        ("a (red:1.3) apple", (("a", 1.0), ("red", 1.3), ("apple", 1.0))),
        ("(red apple:.5)", (("red apple", 0.5),)),
        ("(red: 0 )(blue:2)", (("red", 0.0), ("blue", 2.0))),
        ("family: man (old), smile :)", (("family: man (old), smile :)", 1.0),)),
        ("(a:b) (c:1.x)", (("(a:b) (c:1.x)", 1.0),)),
        ("((red:1.2))", (("(", 1.0), ("red", 1.2), (")", 1.0))),
        ("cafe\u0301 \U0001f468\u200d\U0001f33e", (("caf\u00e9 \U0001f468\u200d\U0001f33e", 1.0),)),
    ],
)
def test_spans(prompt, spans):
    assert parse_prompt(prompt) == spans


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("red\x00apple", r"control character U\+0000 at position 4"),
        ("\x1b[31mred", r"control character U\+001B at position 1"),
        ("a\ud800", r"control character U\+D800 at position 2"),
        ("(red:11)", r"'\(red:11\)' must lie between 0 and 10"),
        ("(red:-1)", "must lie between 0 and 10"),
        ("x" * 100_001, "100,001 characters; at most 100,000"),
        (7, "a prompt is a text, not int"),
        (None, "a prompt is a text, not NoneType"),
    ],
)
def test_what_cannot_be_read(prompt, message):
    with pytest.raises(InputError, match=message):
        parse_prompt(prompt)
