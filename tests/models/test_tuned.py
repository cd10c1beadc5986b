import json

import pytest

from exact import SCHEDULES
from sfumato import solvers
from sfumato.errors import InputError
from sfumato.models.tuned import TunedTable, load_tuned, save_tuned


def tables():
    return {
        steps: TunedTable(solvers.get("dpmpp-2m", SCHEDULES["linear"], steps), 2.0, {"rmse": 0.1}) for steps in (4, 6)
    }


def test_comes_back_as_it_was(tmp_path):
    save_tuned(tmp_path, "abc", tables())
    assert load_tuned(tmp_path, "abc") == tables()


def test_a_folder_without_any_has_none(tmp_path):
    assert load_tuned(tmp_path, "abc") == {}
    save_tuned(tmp_path, "abc", {})
    assert not list(tmp_path.iterdir())


def test_tables_for_other_weights_are_refused(tmp_path):
    save_tuned(tmp_path, "abc", tables())
    with pytest.raises(InputError, match="fitted to other weights"):
        load_tuned(tmp_path, "abd")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.update(format=2), "format 2"),
        (lambda facts: facts.pop("tables"), "tables is missing"),
        (lambda facts: facts["tables"][0].pop("table"), "table is missing"),
        (lambda facts: facts["tables"][0]["table"].pop("X"), "not a solver table"),
        (lambda facts: facts["tables"][0]["table"].update(X="run me"), "not a solver table"),
        (lambda facts: facts["tables"][0]["table"]["times"].reverse(), "does not lead from noise to data"),
        (lambda facts: facts["tables"][0].update(surprise=1), "no 'surprise'"),
        (lambda facts: facts["tables"][0].update(guidance_scale="two"), "guidance_scale"),
    ],
)
def test_damage_is_told_with_the_file(tmp_path, change, message):
    save_tuned(tmp_path, "abc", tables())
    facts = json.loads((tmp_path / "tuned.json").read_text())
    change(facts)
    (tmp_path / "tuned.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=message) as told:
        load_tuned(tmp_path, "abc")
    assert "tuned.json" in str(told.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b"3"])
def test_what_is_no_json_is_told(tmp_path, content):
    (tmp_path / "tuned.json").write_bytes(content)
    with pytest.raises(InputError, match=r"tuned\.json"):
        load_tuned(tmp_path, "abc")
