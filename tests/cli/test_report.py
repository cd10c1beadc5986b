"""`sfumato report`, on a run that was written by hand. On a trained one: tests/training/test_history_page.py."""

from sfumato.cli.main import main


def run(*words):
    return main([str(word) for word in words])


def test_a_page_beside_the_run_or_elsewhere(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"data": "d", "pictures": 50}')
    (tmp_path / "log.jsonl").write_text('{"pictures": 20, "loss": 0.5}\n')
    assert run("report", tmp_path) == 0
    assert f"20 of 50 pictures. The page: {tmp_path / 'report.html'}" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert run("report", tmp_path, "--out", tmp_path / "other.html") == 0
    assert (tmp_path / "other.html").read_text() == page
    assert page.startswith("<!doctype html>")


def test_no_run_exits_with_2(tmp_path, capsys):
    assert run("report", tmp_path) == 2
    assert "holds no run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
