"""Names of icons become code points, code points become captions."""

from __future__ import annotations

import json

import pytest

from sfumato.data.emoji import codes, emoji
from sfumato.data.emoji_join import GROUPS, Concept, key, match_icons, read_concepts, slugs
from sfumato.errors import InputError

GROUP_NAMES = [{"order": 0, "message": "food & drink"}, {"order": 1, "message": "component"}]


def write(folder, **content):
    """Files NAME.json; a double underscore stands for a folder."""
    for name, value in content.items():
        file = folder / (name.replace("__", "/") + ".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    return folder


def test_variation_selectors_do_not_count():
    assert key("1F441-FE0F-200D-1F5E8-FE0F") == "1f441-200d-1f5e8"
    assert key("0023-fe0f-20e3") == "0023-20e3"


def test_concepts_without_skin_variants_and_components(tmp_path):
    apple = {"hexcode": "1F34E", "label": "red apple", "tags": ["fruit"], "group": 0}
    pepper = {"hexcode": "1F336-FE0F", "label": "hot pepper", "group": 0}
    hand = {"hexcode": "1F44B", "label": "hand", "group": 0, "skins": [{"hexcode": "1F44B-1F3FB", "label": "light"}]}
    skin = {"hexcode": "1F3FB", "label": "light skin tone", "group": 1}
    letter = {"hexcode": "1F1E6", "label": "regional indicator A"}
    write(tmp_path, en__messages={"groups": GROUP_NAMES}, en__data=[apple, pepper, hand, skin, letter])
    assert read_concepts(tmp_path) == {
        "1f34e": Concept("red apple", ("fruit",), "food"),
        "1f336": Concept("hot pepper", (), "food"),
        "1f44b": Concept("hand", (), "food"),
    }


def test_icons_are_found_by_name_by_alias_and_by_code_point(tmp_path):
    by_slug = slugs({"1": "red apple", "2": "flag: Chad", "3": "O button (blood type)", "4": "cat", "5": "dog"})
    icons = {
        "icons": {
            "red-apple": {},
            "red-apple-2": {},
            "flag-for-flag-chad": {},
            "blood-o": {},
            "kitty-face": {},
            "else": {},
        },
        "aliases": {"o-button-blood-type": {"parent": "blood-o"}, "red_apple": {"parent": "red-apple-2"}},
    }
    write(tmp_path, icons=icons, chars={"4-FE0F": "kitty-face", "9": "else", "1": "else"})
    read, found = match_icons(tmp_path, by_slug, {"1", "2", "3", "4", "5"})
    assert read == icons
    # "else" stands for code point 1 too, but the first icon of a code point counts; 9 has no caption
    assert found == {"1": "red-apple", "2": "flag-for-flag-chad", "3": "blood-o", "4": "kitty-face"}


def test_a_set_without_code_points(tmp_path):
    _, found = match_icons(write(tmp_path, icons={"icons": {"cat": {}, "face": {}}}), slugs({"4": "cat"}), {"4"})
    assert found == {"4": "cat"}


def test_files_that_are_something_else(tmp_path):
    with pytest.raises(InputError, match=r"messages\.json: cannot be read as JSON"):
        read_concepts(tmp_path)
    with pytest.raises(InputError, match=r"icons\.json: cannot be read as JSON"):
        match_icons(tmp_path, {}, set())
    for entries in ([{"group": 0, "label": "no code"}], ["text"], 3):
        write(tmp_path, en__messages={"groups": GROUP_NAMES}, en__data=entries)
        with pytest.raises(InputError, match="not the captions"):
            read_concepts(tmp_path)
    for icons in ([], {}, {"icons": {}, "aliases": {"a": {}}}, {"icons": {}, "aliases": 3}):
        with pytest.raises(InputError, match="not a set of icons"):
            match_icons(write(tmp_path, icons=icons), {}, set())


def test_the_shipped_pack_follows_these_rules():
    pack = emoji()
    assert pack.kinds["group"] == tuple(GROUPS.values())
    assert len(codes()) == len(pack)
    assert {code: key(code) for code in codes()} == {code: code for code in codes()}
    assert len(set(zip(codes(), pack.captions, strict=True))) == len(set(codes())) == len(set(pack.captions))
    assert codes()[pack.captions.index("red apple")] == "1f34e"
