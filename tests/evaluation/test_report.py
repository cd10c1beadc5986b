import json
from dataclasses import replace

import pytest

from reports import MAKING, NETWORK, REAL, REPORT, interval
from sfumato.errors import InputError
from sfumato.evaluation.method import Method
from sfumato.evaluation.report import Number, Report, rounded, shown


def test_there_is_no_number_without_its_method():
    with pytest.raises(TypeError, match="method"):
        Number("fd", "FD-Toy", interval(), None)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="features"):
        Method(MAKING, REAL)  # type: ignore[call-arg]
    for facts, name in ((MAKING, "weights_sha256"), (MAKING, "solver"), (REAL, "sha256"), (NETWORK, "preprocessing")):
        with pytest.raises(InputError, match=f"a number needs its {name}"):
            replace(facts, **{name: ""})
    assert replace(MAKING, first_seed=0, guidance_scale=0.0).seeds == "0…39"  # nought is a number


@pytest.mark.parametrize("report", [REPORT, Report(REPORT.numbers)])
def test_json_there_and_back(report, tmp_path):
    report.save(tmp_path / "r.json")
    assert Report.load(tmp_path / "r.json") == report


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as a report"),
        ("[" * 100_000, "cannot be read as a report"),
        ("[]", "no report of format 1"),
        ('{"format": 2}', "no report of format 1"),
        ('{"format": 1}', "numbers is missing"),
        ('{"format": 1, "numbers": []}', "holds no numbers"),
        ('{"format": 1, "numbers": [{"measure": "fd"}]}', r"numbers.0.: name is missing"),
    ],
)
def test_a_file_that_is_no_report(content, message, tmp_path):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError, match=message):
        Report.load(tmp_path / "r.json")
    with pytest.raises(InputError, match="cannot be read"):
        Report.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("numbers", 0, "value", "low"), float("nan"), "low must be of type float"),
        (("numbers", 0, "method", "making", "solver"), "", "a number needs its solver"),
        (("numbers", 0, "value", "method"), "quarter", "cannot be 'quarter'"),
        (("likelihood", "bits"), 3, "the likelihood is not what was written"),
        (("surprise",), 3, "there is no 'surprise'"),
    ],
)
def test_a_report_that_was_changed(path, value, message, tmp_path):
    where = facts = json.loads(json.dumps(REPORT.to_dict()))
    for step in path[:-1]:
        where = where[step]
    where[path[-1]] = value
    (tmp_path / "r.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=message):
        Report.load(tmp_path / "r.json")


def test_the_text_tells_all_that_the_numbers_depend_on():
    text = str(REPORT)
    for fact in (
        "FD-Toy",
        "12.0 [10.0, 15.0]",
        "tiny",
        "average weights aaaaaaaaaaaa",
        "seeds 0…39",
        "ddim, 4 steps (4 network",
        "trailing",
        "guidance scale 2",
        "40 of 80 pictures of squares (cccccccccccc)",
        "Toy (eeeeeeeeeeee), x/255",
        "95% intervals, method 'half', 100 draws, seed 0",
        "4 steps",
        "Memorisation. So near is near.",
        "bits per dimension",
        "Note: Beware.",
    ):
        assert fact in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_measures_of_fewer_pictures_are_told_apart():
    few = replace(REPORT.numbers[1], value=interval(n=(30, 30)))
    assert "measures of pairs are of the first 30" in str(Report((REPORT.numbers[0], few)))


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (425.34, 410.1, 440.2, "425 [410, 440]"),
        (12.04, 10.04, 15.04, "12.0 [10.0, 15.0]"),
        (0.01234, 0.01, 0.0131, "0.0123 [0.0100, 0.0131]"),
        (-1e-9, -0.004, 0.004, "0.0000 [-0.0040, 0.0040]"),
        (1.0, 1.0, 1.0, "1.000 [1.000, 1.000]"),
        (5e4, 1e4, 9e4, "50000 [10000, 90000]"),
    ],
)
def test_as_many_digits_as_mean_something(value, low, high, said):
    assert shown(interval(value, low, high)) == said
    assert rounded(interval(value, low, high))[0] == said.split()[0]
