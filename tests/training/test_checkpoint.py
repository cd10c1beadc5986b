"""One checkpoint: it comes back as it was, or not at all, whatever happens to its file or to who writes it."""

import hashlib
import json
import os
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cuts import Disk, PowerCut
from sfumato.errors import InputError
from sfumato.files import remove_leftovers
from sfumato.training import checkpoint
from sfumato.training.checkpoint import Position, Window, restore, save


class Run:
    """Two numbers, an average of them in bfloat16, and their optimizer, after so many steps."""

    def __init__(self, steps=0):
        self.weights = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.optimizer = torch.optim.AdamW([self.weights], lr=0.1)
        for _ in range(steps):
            self.weights.square().sum().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.average = self.weights.detach().bfloat16()
        self.position = Position(
            4 * steps, 100 * steps, Window(0.1 * steps, steps, 0.3, {"kl": 0.7}), "data", "cpu", 1.5
        )

    @property
    def states(self):
        return {"weights": {"w": self.weights.detach()}, "average": {"w": self.average}}

    def save(self, folder, keep=2):
        save(folder, self.position, self.states, self.optimizer, keep)
        return folder / f"{self.position.seen:012d}.safetensors"

    @property
    def all(self):
        state = {name: value.tolist() for name, value in self.optimizer.state[self.weights].items()}
        return self.position, self.weights.tolist(), self.average.tolist(), state


def restored(folder):
    run, said = Run(), []
    run.position = restore(folder, run.states, run.optimizer, said.append)
    return run.all, said


def test_what_was_saved_comes_back(tmp_path):
    run = Run(3)
    run.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000012.safetensors", "latest"]
    assert restored(tmp_path) == (run.all, [])


def test_where_there_is_none_yet_the_run_begins_anew_and_says_so(tmp_path):
    found, (said,) = restored(tmp_path)
    assert found == (Position(), *Run().all[1:])
    assert said == f"There is no checkpoint in {tmp_path} yet: the run begins anew."


def test_every_single_byte_counts(tmp_path):
    """One bit of each byte of the file is flipped in turn: what was saved before is used, or the file is refused."""
    before, after = Run(1), Run(2)
    before.save(tmp_path)
    path = after.save(tmp_path)
    whole, latest = path.read_bytes(), (tmp_path / "latest").read_bytes()
    refused = []
    for i, byte in enumerate(whole):
        path.write_bytes(whole[:i] + bytes([byte ^ 1 << i % 8]) + whole[i + 1 :])
        (tmp_path / "latest").write_bytes(latest)
        try:
            found, said = restored(tmp_path)
        except InputError as error:
            refused.append(str(error))
            continue
        assert found == before.all, i
        assert len(said) == 1, i
    assert len(refused) <= 1  # the number of the format, which may be one that is not known yet
    assert all("has the format" in error for error in refused)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, -1])
def test_a_file_cut_short(tmp_path, length):
    before, after = Run(1), Run(2)
    before.save(tmp_path)
    path = after.save(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    found, (said,) = restored(tmp_path)
    assert found == before.all
    assert said.startswith(f"WARNING: passed over {path}: it cannot be read")


@pytest.mark.parametrize("header", [None, "", "[" * 10**5, "1", "{}", '["format", "sha256", "position"]', "9" * 5000])
def test_a_header_that_is_no_checkpoints(tmp_path, header):
    before = Run(1)
    before.save(tmp_path)
    path = Run(2).save(tmp_path)
    save_file(load_file(path), path, metadata=None if header is None else {"sfumato_checkpoint": header})
    found, (said,) = restored(tmp_path)
    assert found == before.all
    assert said.startswith(f"WARNING: passed over {path}: it cannot be read")


def test_a_shape_a_type_and_a_position_are_under_the_checksum(tmp_path):
    """The same bytes with another meaning."""
    before, after = Run(1), Run(2)
    before.save(tmp_path)
    path = after.save(tmp_path)
    whole, latest = path.read_bytes(), (tmp_path / "latest").read_bytes()
    for old, new in ((b'"F32","shape":[2]', b'"I32","shape":[2]'), (b'\\"seen\\": 8', b'\\"seen\\": 9')):
        assert whole.count(old) >= 1
        path.write_bytes(whole.replace(old, new, 1))
        (tmp_path / "latest").write_bytes(latest)
        found, (said,) = restored(tmp_path)
        assert found == before.all
        assert "does not match its checksum" in said


def test_one_of_the_first_format_is_read(tmp_path):
    """Its checksum is of names and bytes alone; there was no `latest`."""
    run = Run(2)
    tensors = load_file(run.save(tmp_path / "new"))
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + bytes(tensors[name].reshape(-1).view(torch.uint8).tolist()))
    facts = {"format": 1, "sha256": digest.hexdigest(), "position": asdict(run.position)}
    old = tmp_path / "old" / "000000000008.safetensors"
    old.parent.mkdir()
    save_file(tensors, old, metadata={"sfumato_checkpoint": json.dumps(facts)})
    assert restored(tmp_path / "old") == (run.all, [])
    save_file({**tensors, "weights/w": tensors["weights/w"] + 1}, old, {"sfumato_checkpoint": json.dumps(facts)})
    with pytest.raises(InputError, match="does not match its checksum"):
        restored(tmp_path / "old")


def interrupted(folder, patch, how, keep):
    """Save a second state with an accident before each of its file operations in turn; yields what came of each."""
    before, after, number = Run(1), Run(2), 0
    while True:
        place = folder / f"{how} {keep} {number}"
        before.save(place, keep)
        with patch.context() as during:
            disk = Disk(during, number, how)
            honest = checkpoint.write_tensors

            def half(tensors, path, header=None, disk=disk, honest=honest):
                """What writes tensors does not go through Python's functions."""
                honest(tensors, path, header)
                try:
                    disk.note("write", path)
                except BaseException:
                    os.truncate(path, path.stat().st_size // 2)
                    raise

            during.setattr(checkpoint, "write_tensors", half)
            error = None
            try:
                after.save(place, keep)
            except (PowerCut, OSError) as raised:
                error = raised
        if error is None and len(disk.done) <= number:
            return
        yield place, error, before.all, after.all
        number += 1


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("how", ["cut", "full", "once"])
def test_an_accident_between_any_two_file_operations(tmp_path, monkeypatch, how, keep):
    """What is found afterwards is the old state or the new one, without a warning; and saving goes on."""
    results, third = [], Run(3)
    for place, error, before, after in interrupted(tmp_path, monkeypatch, how, keep):
        found, said = restored(place)
        assert found in (before, after)
        assert said == []
        if error is None:  # as when a temporary file cannot be removed that is no longer there
            assert found == after
        results.append(found == after)
        remove_leftovers(place)
        third.save(place, keep)
        assert restored(place) == (third.all, [])
        files = sorted(p.name for p in place.iterdir())
        assert files[-2:] == ["000000000012.safetensors", "latest"]
        assert len(files) <= keep + 1
    if how != "once":  # of which some are tried again, or do not matter
        assert results == sorted(results)  # the old state up to some operation, the new one from there
    assert False in results
    assert results[-1] is True
    assert len(results) > 10


def test_latest_moves_after_its_entry_is_durable_and_before_old_ones_go(tmp_path, monkeypatch):
    Run(1).save(tmp_path, keep=1)
    with monkeypatch.context() as during:
        disk = Disk(during)
        Run(2).save(tmp_path, keep=1)
    moves = [(i, os.path.basename(done[2])) for i, done in enumerate(disk.done) if done[0] == "replace"]
    syncs = [i for i, done in enumerate(disk.done) if done[0] == "fsync"]
    old = next(i for i, done in enumerate(disk.done) if done[0] == "unlink" and str(done[1]).endswith("4.safetensors"))
    (entry, first), (latest, second) = moves
    assert (first, second) == ("000000000008.safetensors", "latest")
    order = [*syncs[:1], entry, *syncs[1:3], latest, *syncs[3:], old]
    assert len(syncs) == 4  # file and folder, of the entry and of `latest`
    assert order == sorted(order)


def test_a_position_is_what_it_was_to_the_last_bit(tmp_path):
    run = Run(1)
    run.position = replace(run.position, window=Window(0.1 + 0.2, 3, 1e-310, {"b": 1 / 3, "a": 2**0.5}), seconds=1e22)
    run.save(tmp_path)
    assert restored(tmp_path) == (run.all, [])
