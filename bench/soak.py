"""Training that is killed again and again, and resumed: is anything lost, and does it end in the same bytes?

A kill is a SIGKILL after a random time; or at a random file operation of a save: before it, or up to 3 ms later, so
that it also falls into the middle of a write. In every second run the newest checkpoint is damaged after some kills.
Further runs meet a full disk, or a folder that becomes read-only, at such an operation. Each run's files are compared
with those of one that was left alone. Run by `make evidence-resume`; writes bench/results/resume.json; exits 1 when a
run is lost or a file differs.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench.sitting import ELSEWHERE, PLACES, Board, End, Trap, call, die, fill, limit, lock, sit
from rich.console import Console

from sfumato._version import __version__
from sfumato.diffusion.config import ScheduleConfig
from sfumato.networks.config import UNetConfig
from sfumato.training.autoencoder import train_autoencoder
from sfumato.training.averages_config import AveragesConfig
from sfumato.training.entries import LATEST, entries
from sfumato.training.loop import train
from sfumato.training.objective_config import ObjectiveConfig
from sfumato.training.options import RunOptions

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench" / "results" / "resume.json"
SEED = 20261123
KILLS, ACCIDENTS = 36, 40  # of each configuration, and of each other kind, at least
DISK = 8_000_000  # bytes
NOBODY = 65534
LOSSES = ("lost runs", "different files", "checkpoints that a kill alone cost")
# what may differ in JSON: time, memory, how many digits these take in the log, where it lies
UNEQUAL = {"seconds", "rate", "memory_mb", "log_bytes", "out", "resume"}

NETWORK = UNetConfig(channels=8, multipliers=(1,), attention_levels=(), mid_attention=False, groups=4)
SHORT = {"pictures": 128, "checkpoint_every": 16, "log_every": 12}
DROPOUT = {"network": replace(NETWORK, dropout=0.1)}
AVERAGES = {"averages": AveragesConfig((8, 64), (0.05, 0.1), 24)}
FEW = ScheduleConfig("linear", 2, False, 0.9, 0.99)  # so few steps that importance has its losses early
PLAIN, AUTOENCODER = "fp32", "an autoencoder with discriminator"
CONFIGS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "fp32, accumulate 2, workers 1, dropout": {"accumulate": 2, "workers": 1, **DROPOUT},
    "bf16, workers 4, five averages, one checkpoint kept": {"precision": "bf16", "workers": 4, "keep": 1, **AVERAGES},
    "bf16, accumulate 2, dropout, five averages, samples": {
        **{"precision": "bf16", "accumulate": 2, "sample_every": 64, **DROPOUT, **AVERAGES}
    },
    "fp32, workers 4, importance, learned variance": {
        **{"workers": 4, "schedule": FEW, "prediction": "eps", "weighting": "vlb"},
        "objective": ObjectiveConfig(times="importance", variance="interpolated"),
    },
    AUTOENCODER: {"adversarial": 0.5, "adversarial_start": 40, "discriminator_channels": 8},
}

Spring = Callable[[int], None]


@dataclass
class Soak:
    """A configuration that is trained again and again in `folder`."""

    config: RunOptions
    folder: Path
    board: Board = field(default_factory=Board)
    counts: Counter = field(default_factory=Counter)
    operations: dict[str, float] = field(default_factory=dict)  # of a save, by place
    until_saved: float = 0.0  # seconds from a run's beginning to its first checkpoint
    whole: dict[str, bytes] = field(default_factory=dict)  # files of the run that was left alone

    def new(self) -> Path:
        """Folder for another run."""
        self.counts["runs"] += 1
        return self.folder / str(self.counts["runs"])

    def train(self, out: Path, console: Console) -> None:
        config = replace(self.config, out=out, resume=(out / "config.json").exists())
        (train_autoencoder if config.verb == "train-autoencoder" else train)(config, console)  # type: ignore[arg-type]

    def sit(self, out: Path, spring: Spring | None = None, **more: Any) -> End:
        trap = None
        if spring:  # as often in a checkpoint as in all else that is saved
            place = random.choice(["checkpoint", random.choice(list(self.operations))])
            trap = Trap(place, random.randint(1, round(2 * self.operations[place])), spring)
        return sit(partial(self.train, out), self.board, self.folder.with_suffix(".said"), trap, **more)

    def leave_alone(self) -> None:
        began, out = time.monotonic(), self.folder / "whole"
        end = self.sit(out)
        assert end.status == 0, end.said
        did = {place: self.board[place] / self.board["saves"] for place in PLACES if place != ELSEWHERE}
        self.operations = {place: count for place, count in did.items() if count}
        self.until_saved = self.board["first_save_ns"] / 1e9 - began
        self.whole = files(out)

    def finished(self, out: Path, end: End) -> None:
        """Count a run that came to an end: whether it is lost, and which of its files are not what they should be."""
        kept = min(name for name in self.whole if name.startswith("checkpoints/"))  # a kill may have left older ones
        found = {name: value for name, value in files(out).items() if not "checkpoints/" < name < kept}
        differ = sorted(name for name in found.keys() | self.whole.keys() if found.get(name) != self.whole.get(name))
        if end.status:
            self.counts["lost runs"] += 1
            print(f"LOST: {out}, status {end.status}: {end.said}", flush=True)
        elif differ:
            self.counts["different files"] += len(differ)
            print(f"DIFFERENT: {out}: {', '.join(differ)}", flush=True)
        else:
            shutil.rmtree(out)


def kill(soak: Soak, damaging: bool) -> None:
    """A run that is killed until it comes to its end."""
    out, counts, latest = soak.new(), soak.counts, 0
    while True:
        if counts["kills"] <= 2 * counts[f"killed, {ELSEWHERE}"]:
            end = soak.sit(out, random.choice([die, call]))
        else:
            end = soak.sit(out, within=random.uniform(0, 2.5 * soak.until_saved))
        restored, warnings = soak.board["restored"], end.said.count("WARNING")
        counts["resumes"] += restored > 0
        counts["checkpoints passed over"] += warnings
        if not damaging and (warnings or -1 < restored < latest):  # before the first `latest`, an entry may be found
            counts["checkpoints that a kill alone cost"] += 1
            print(f"WENT BACK: {out} from {latest} to {restored}: {end.said}", flush=True)
        if end.status != -9:
            break
        place = PLACES[soak.board["place"]]
        counts["kills"] += 1
        counts["killed before the first checkpoint"] += not (out / "checkpoints" / LATEST).exists()
        counts[f"killed, {place}"] += 1
        if damaging and restored > 0 and random.random() < 0.4:  # so what was damaged before has been passed over
            counts["checkpoints damaged"] += damage(out / "checkpoints")
        latest = 0 if damaging else newest(out)
    soak.finished(out, end)


def newest(out: Path) -> int:
    """Pictures seen in the entry that `latest` names; 0 where there is none."""
    path = out / "checkpoints" / LATEST
    return int(json.loads(path.read_text())["entry"][:12]) if path.exists() else 0


def damage(folder: Path) -> bool:
    """Do something to the newest checkpoint, or to what names one, unless there is no other to fall back on."""
    known = entries(folder)
    if len(known) < 2:
        return False
    path = random.choice([known[-1], known[-1], folder / LATEST])
    content = bytearray(path.read_bytes())
    at = random.randrange(len(content))
    content[at] ^= 1 << random.randrange(8)
    what = random.choice(["cut", "empty", "flip", "gone"])
    if what == "gone" and path.name != LATEST:
        path.unlink()
    else:
        path.write_bytes({"cut": content[:at], "empty": b""}.get(what, content))
    return True


def meet(
    soak: Soak, spring: Callable[[Path], Callable[[int], None]], mend: Callable[[Path], None], **more: Any
) -> None:
    """Runs that meet an accident again and again, each time mended, until they come to their end."""
    while soak.counts["accidents told"] < ACCIDENTS:
        out, end = soak.new(), End(1, "")
        while end.status == 1:
            end = soak.sit(out, spring(out), **more)
            if end.status == 1:
                assert "could not be written to" in end.said, end.said
                soak.counts["accidents told"] += 1
                if random.random() < 0.3:  # go on though nothing was mended
                    again = soak.sit(out, **more)
                    assert again.status in (0, 1, 2), again.said
                    soak.counts["refused at the start until mended"] += again.status == 2
            mend(out)
        soak.finished(out, end)


def full_disk(soak: Soak, folder: Path) -> str:
    """Runs on a small disk that fills up. Returns how it was made."""
    room = max(map(len, soak.whole.values()))
    ballast, how = folder / "ballast", f"a tmpfs of {DISK} bytes, filled at a file operation of a save"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        how = "no disk could be mounted: a limit on the size of files, set at a file operation of a save"

    def spring(out: Path) -> Spring:
        left = random.randrange(20_000, room)
        return lambda pipe: limit(left) if mounted.returncode else fill(ballast, left)

    try:
        meet(soak, spring, lambda out: ballast.unlink(missing_ok=True))
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(folder)], check=True)
    return how


def read_only(soak: Soak, folder: Path) -> str:
    """Runs in whose folder, or its checkpoints, nothing may appear or go any more. Returns how that was done."""
    user = NOBODY if os.geteuid() == 0 else None  # the superuser may write anywhere
    if user is not None:
        os.chown(folder, user, user)

    def spring(out: Path) -> Spring:
        place = random.choice([out, out / "checkpoints"])
        return lambda pipe: lock(place)

    def mend(out: Path) -> None:
        for place in (out, out / "checkpoints"):
            place.chmod(0o755)

    meet(soak, spring, mend, user=user)
    return f"permissions 0555, set at a file operation of a save, as user {NOBODY if user else os.geteuid()}"


def files(out: Path) -> dict[str, bytes]:
    """What must be equal of each file of a run."""
    found = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: essence(path) for name, path in found.items() if path.suffix != ".damaged"}


def essence(path: Path) -> bytes:
    """A file's content, but for what it says of time and memory, and of where it lies."""
    content = path.read_bytes()
    if path.suffix in (".json", ".jsonl"):
        lines = content.splitlines() if path.suffix == ".jsonl" else [content]
        return json.dumps([without(json.loads(line)) for line in lines]).encode()
    if path.name == "README.md":
        return b"".join(line for line in content.splitlines() if not line.startswith(b"- seconds: "))
    if path.name == LATEST:
        return json.loads(content)["entry"].encode()
    if path.parent.name == "checkpoints" and path.suffix == ".safetensors":
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        facts = json.loads(header["__metadata__"].pop("sfumato_checkpoint"))
        del facts["sha256"]  # also of the seconds
        return json.dumps([without(facts), header]).encode() + content[end:]
    return content


def without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without(more) for key, more in value.items() if key not in UNEQUAL}
    return [without(more) for more in value] if isinstance(value, list) else value


def prepared(folder: Path) -> Iterator[tuple[str, Soak]]:
    """All configurations, with their data; each has run for a moment, so that a fork finds all that it needs."""
    sys.path.insert(0, str(ROOT / "tests"))
    import autoencoders
    import factory

    data = {side: factory.pictures(folder / str(side), 300 if side == 8 else 60, side) for side in (8, 16)}
    for name, changes in CONFIGS.items():
        if name == AUTOENCODER:
            config: RunOptions = autoencoders.config(data[16], folder, **SHORT, **changes)
        else:
            config = factory.config(data[8], folder, **{**SHORT, "network": NETWORK, **changes})
        soak = Soak(config, folder / f"configuration {len(os.listdir(folder))}")
        soak.folder.mkdir()
        replace(soak, config=replace(config, pictures=8)).train(soak.folder / "first", Console(quiet=True))
        yield name, soak


def main() -> int:
    random.seed(SEED)
    logging.disable(logging.WARNING)  # that so few pictures cannot tell how good an autoencoder is
    torch.set_num_threads(1)
    began, cases = time.monotonic(), {}
    result = {
        "command": "python -m bench.soak",
        "what": "runs killed and resumed, or stopped by an accident and resumed; each run's files, but for timings and "
        "places, compared byte by byte with those of one that was left alone",
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}, python "
        f"{platform.python_version()}, torch {torch.__version__}, sfumato {__version__}",
        "seed": SEED,
    }

    def record(name: str, counts: Counter, **more: str) -> None:
        cases[name] = {**more, "lost runs": 0, "different files": 0, **{key: n for key, n in counts.items() if n}}
        total = sum((Counter(case) for case in ({**case, "how": 0} for case in cases.values())), Counter())
        saving = total["kills"] - total[f"killed, {ELSEWHERE}"]
        sums = {"kills": total["kills"], "kills during saves": saving, "resumes": total["resumes"]}
        lost = {key: total[key] for key in LOSSES}
        told = {**sums, **lost, "minutes": round((time.monotonic() - began) / 60, 1), "cases": cases}
        RESULT.write_text(json.dumps(result | told, indent=1) + "\n")
        print(name, json.dumps(cases[name]), flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # for another user
        soaks = dict(prepared(folder))
        gc.freeze()  # so that forks share what there is
        for name, soak in soaks.items():
            soak.leave_alone()
            while soak.counts["kills"] < KILLS or soak.counts["runs"] % 2:
                kill(soak, damaging=soak.counts["runs"] % 2 == 1)
            record(name, soak.counts)
        for name, accident in (("a full disk", full_disk), ("a read-only folder", read_only)):
            place = folder / name
            place.mkdir()
            soak = replace(soaks[PLAIN], folder=place, counts=Counter())
            record(name, soak.counts, how=accident(soak, place))
    return int(any(json.loads(RESULT.read_text())[key] for key in LOSSES))


if __name__ == "__main__":
    sys.exit(main())
