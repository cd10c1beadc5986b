"""Which checkpoint is used, whatever state the folder is in. An entry is a short text here that says if it is whole."""

import errno
import hashlib
import json
import os
import shutil

import pytest

from sfumato.errors import InputError
from sfumato.training import entries
from sfumato.training.entries import DamagedError, check_room, commit, newest_whole

A, B, C = (f"{n:012d}.safetensors" for n in (4, 8, 12))
FOLDER = "000000000016"


def write(folder, name, text="whole"):
    folder.mkdir(exist_ok=True)
    path = folder / name
    if not name.endswith("safetensors"):
        path.mkdir(exist_ok=True)
        path = path / "shard"
    path.write_text(f"{text} {name}")
    return sha(path)


def sha(path):
    return hashlib.sha256((path / "shard" if path.is_dir() else path).read_bytes()).hexdigest()


def read(path):
    content = (path / "shard" if path.is_dir() else path).read_text()
    if not content.startswith("whole"):
        raise DamagedError("it is torn")
    return content.removeprefix("whole "), sha(path)


def used(folder):
    """What is used, and what was said."""
    said = []
    return newest_whole(folder, read, said.append), said


def names(folder):
    return sorted(os.listdir(folder))


@pytest.fixture
def three(tmp_path):
    """Three entries, of which `latest` names the last."""
    for name in (A, B, C):
        commit(tmp_path, name, write(tmp_path, name), keep=3)
    return tmp_path


def test_entries_rotate_and_latest_names_the_newest(tmp_path):
    for name in (A, B, C, FOLDER):
        checksum = write(tmp_path, name)
        commit(tmp_path, name, checksum, keep=2)
        assert json.loads((tmp_path / "latest").read_text()) == {"entry": name, "sha256": checksum}
        assert used(tmp_path) == (name, [])
    assert names(tmp_path) == [C, FOLDER, "latest"]


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_as_many_are_kept_as_asked_of_files_and_folders(tmp_path, keep):
    made = [f"{n:012d}" + (".safetensors" if n % 2 else "") for n in range(4)]
    for name in made:
        commit(tmp_path, name, write(tmp_path, name), keep)
    assert names(tmp_path) == [*made[-keep:], "latest"]


def test_what_was_not_committed_is_not_used_while_latest_names_a_whole_one(three):
    write(three, FOLDER)
    assert used(three) == (C, [])
    commit(three, B, sha(three / B), keep=3)  # a run that went on from A comes to B again
    assert names(three) == [A, B, "latest"]


@pytest.mark.parametrize("name", ["000000000016.safetensors", FOLDER])
def test_what_was_not_committed_goes_before_the_run_goes_on(three, name):
    """Else, with a damaged `latest`, a later sitting would take it for the newest: with the length of a log that is no
    more, since the sitting in between has written other lines."""
    write(three, name)
    assert used(three) == (C, [])
    assert names(three) == [A, B, C, "latest"]
    (three / "latest").write_text("")
    assert used(three)[0] == C


def test_halves_of_folders_that_a_killed_writer_left_go_with_the_next_entry(three):
    for name in (f".{FOLDER}.new", f".{FOLDER}.old"):
        (three / name).mkdir()
        (three / name / "shard").write_text("half")
    assert used(three) == (C, [])
    last = "000000000020"
    commit(three, last, write(three, last), keep=2)
    assert names(three) == [C, last, "latest"]


def test_a_run_from_before_there_were_pointers_goes_on_from_its_newest(three):
    (three / "latest").unlink()
    assert used(three) == (C, [])


@pytest.mark.parametrize("name", ["notes.txt", "12.safetensors", "0000000000012.safetensors", "model.safetensors"])
def test_other_files_are_nobodys_entries(tmp_path, name):
    (tmp_path / name).write_text("whole")
    assert used(tmp_path) == (None, [])
    commit(tmp_path, A, write(tmp_path, A), keep=1)
    assert (tmp_path / name).exists()


def test_no_folder_and_an_empty_one_hold_nothing(tmp_path):
    assert used(tmp_path) == used(tmp_path / "none") == (None, [])


def test_a_damaged_one_is_passed_over_loudly_and_latest_moves_to_the_one_used(three):
    write(three, C, "torn")
    found, (said,) = used(three)
    assert found == B
    assert said == (
        f"WARNING: passed over {three / C}: it is torn. It is kept as 000000000012.damaged. Going on from {B}."
    )
    assert names(three) == [A, B, "000000000012.damaged", "latest"]
    assert used(three) == (B, [])  # and says it once


def test_several_damaged_ones(three):
    write(three, B, "torn")
    write(three, C, "torn")
    found, said = used(three)
    assert found == A
    assert [B in line or C in line for line in said] == [True, True]


def test_a_damaged_folder_is_set_aside_even_where_one_was_before(three):
    for _ in range(2):
        commit(three, FOLDER, write(three, FOLDER), keep=4)
        write(three, FOLDER, "torn")
        assert used(three)[0] == C
    assert names(three) == [A, B, C, f"{FOLDER}.damaged", "latest"]


def test_one_that_is_gone_though_latest_names_it(three):
    (three / C).unlink()
    found, (said,) = used(three)
    assert (found, said) == (B, f"WARNING: passed over {three / C}: it is gone. Going on from {B}.")


def test_a_whole_one_that_is_not_the_one_named_is_passed_over(three):
    write(three, C, "whole, but of another run:")
    found, (said,) = used(three)
    assert found == B
    assert "it is not the one that latest was written for" in said


def test_when_none_is_whole_it_says_so_each_time_and_changes_nothing(three):
    for name in (A, B, C):
        write(three, name, "torn")
    before = names(three)
    for _ in range(2):
        with pytest.raises(InputError, match=rf"(?s)no checkpoint in .* is whole:.*{C}: it is torn.*{A}.*another fold"):
            used(three)
    assert names(three) == before


@pytest.mark.parametrize("left", ["latest", "000000000012.damaged"])
def test_when_all_are_gone_a_run_does_not_begin_anew(three, left):
    (three / C).rename(three / "000000000012.damaged")
    for name in set(names(three)) - {left}:
        (three / name).unlink()
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole"):
        used(three)


HOSTILE = {
    "empty": b"",
    "binary": bytes(range(256)),
    "zeros": bytes(100),
    "huge": b" " * 5_000_000 + b"{}",
    "a huge name": json.dumps({"entry": "0" * 10_000_000, "sha256": "0" * 64}).encode(),
    "deep": b"[" * 4000,
    "no table": b"[1]",
    "no names": b"{}",
    "numbers": b'{"entry": 12, "sha256": 3}',
    "long number": b"9" * 4096,
    "path traversal": json.dumps({"entry": "../../../etc/passwd", "sha256": "0" * 64}).encode(),
    "traversal to an entry": json.dumps({"entry": f"../checkpoints/{A}", "sha256": "0" * 64}).encode(),
    "absolute": json.dumps({"entry": "/etc/passwd", "sha256": "0" * 64}).encode(),
    "line break": json.dumps({"entry": f"{A}\n", "sha256": "0" * 64}).encode(),
    "zero byte": json.dumps({"entry": f"{A}\0", "sha256": "0" * 64}).encode(),
    "other digits": json.dumps({"entry": "\u0664" * 12, "sha256": "0" * 64}).encode(),
    "half a character": b'{"entry": "\\ud800", "sha256": "0"}',
    "no checksum": json.dumps({"entry": A, "sha256": "0"}).encode(),
    "itself": json.dumps({"entry": "latest", "sha256": "0" * 64}).encode(),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_stands_in_latest_the_newest_whole_one_is_used(three, what):
    (three / "latest").write_bytes(HOSTILE[what])
    found, (said,) = used(three)
    assert found == C
    assert said.startswith(f"WARNING: passed over {three / 'latest'}: ")
    assert said.endswith(f". Going on from {C}.")
    assert used(three) == (C, [])  # it was mended
    assert names(three) == [A, B, C, "latest"]


def test_a_latest_beyond_all_memory_is_not_read_to_its_end(three):
    os.truncate(three / "latest", 2**42)  # a sparse file: it takes no room
    found, (said,) = used(three)
    assert found == C
    assert "latest: it cannot be read" in said


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path), lambda path: path.symlink_to("none")])
def test_a_latest_that_is_no_file_is_not_waited_for(three, make):
    (three / "latest").unlink()
    make(three / "latest")
    found, (said,) = used(three)
    assert found == C
    assert "it is not a file" in said
    assert used(three) == (C, [])


def test_a_latest_that_is_a_folder_is_refused_with_its_name(three):
    (three / "latest").unlink()
    (three / "latest").mkdir()
    with pytest.raises(InputError, match="latest is a folder"):
        used(three)


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(three, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        used(three)


def test_a_read_only_folder_is_told_when_something_must_be_put_right(three, monkeypatch):
    def denied(*paths):
        raise OSError(errno.EROFS, "Read-only file system")

    write(three, C, "torn")
    monkeypatch.setattr(os, "rename", denied)
    with pytest.raises(InputError, match=r"cannot write into .*Read-only file system"):
        used(three)


def test_a_folder_is_removed_by_name_first(tmp_path, monkeypatch):
    """Half of it is never taken for an entry."""
    commit(tmp_path, FOLDER, write(tmp_path, FOLDER), keep=1)
    seen, honest = [], shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path: (seen.append(entries.entries(tmp_path)), honest(path)))
    last = "000000000020"
    commit(tmp_path, last, write(tmp_path, last), keep=1)
    assert seen == [[tmp_path / last]]
    assert names(tmp_path) == [last, "latest"]


def test_room_is_asked_for_beside_what_the_entries_take(three, monkeypatch):
    """A run that was stopped goes on where it was started: its checkpoints' room is that of those to come."""
    (three / FOLDER).mkdir()
    (three / FOLDER / "shard").write_bytes(bytes(1_000_000))
    need = []
    monkeypatch.setattr(entries, "check_writable", lambda folder, need_bytes: need.append(need_bytes))
    check_room(three, 500_000, keep=2)
    assert need == [4 * 500_000 - 1_000_000 - sum((three / name).stat().st_size for name in (A, B, C))]
