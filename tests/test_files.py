import os
import stat

import pytest

from sfumato.errors import InputError
from sfumato.files import (
    atomic_path,
    check_writable,
    remove_leftovers,
    replace_folder,
    sha256_of,
    temporary_name,
    write_text,
)


def test_a_file_appears_whole_with_the_permissions_of_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "new" / "a.txt", "ä")
    finally:
        os.umask(old)
    path = tmp_path / "new" / "a.txt"
    assert path.read_bytes() == "ä".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_sha256_of_the_standards_example(tmp_path):
    """FIPS 180-2, appendix B.1."""
    write_text(tmp_path / "abc", "abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_error_leaves_the_old_file_and_no_litter(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def half():
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "m"
    with replace_folder(target) as new:
        (new / "one").write_text("1")
    with replace_folder(target) as new:
        (new / "two").write_text("2")
    assert [p.name for p in target.iterdir()] == ["two"]

    def half():
        with replace_folder(target) as new:
            (new / "three").write_text("3")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert [p.name for p in target.iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_leftovers_of_a_killed_replacement_do_no_harm(tmp_path):
    (tmp_path / ".m.new").mkdir()
    (tmp_path / ".m.old").mkdir()
    with replace_folder(tmp_path / "m") as new:
        (new / "one").write_text("1")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    stays = [".hidden", "a.tmp", ".a.tmp", ".a.0123ABCD.tmp", ".a.0123abcd.tmp.png.bak", "a.0123abcd.tmp.png"]
    goes = [".a.0123abcd.tmp", ".a.b.0123abcd.tmp.png", temporary_name(tmp_path / "new.safetensors").name]
    for name in (*stays, *goes):
        (tmp_path / name).write_text("")
    (tmp_path / ".shards.89abcdef.tmp" / "in").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("")
    (tmp_path / ".link.89abcdef.tmp").symlink_to(tmp_path / "kept")
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*stays, "kept"])
    assert (tmp_path / "kept" / "file").exists()
    remove_leftovers(tmp_path / "none")


def test_unwritable_and_full_places_are_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write into"):
        check_writable(tmp_path / "file" / "x", 0)
    with pytest.raises(InputError, match="MB are needed"):
        check_writable(tmp_path, 10**18)
    check_writable(tmp_path / "fine", 1000)
    assert not any((tmp_path / "fine").iterdir())


def test_a_folder_leaves_the_permissions_of_linked_files_alone(tmp_path):
    """One file of a user's cache that is linked into a model's folder."""
    cached = tmp_path / "cached"
    cached.write_text("weights")
    cached.chmod(0o400)
    with replace_folder(tmp_path / "model") as new:
        os.link(cached, new / "linked")
        (new / "own").write_text("x")
        (new / "own").chmod(0o600)
    assert stat.S_IMODE(cached.stat().st_mode) == 0o400
    assert (tmp_path / "model" / "linked").samefile(cached)
    assert stat.S_IMODE((tmp_path / "model" / "own").stat().st_mode) != 0o600
