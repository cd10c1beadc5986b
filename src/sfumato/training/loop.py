"""The training loop. Read it from top to bottom: that is the order in which things happen."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from sfumato import seeds
from sfumato.conditioning.labels import LabelSet
from sfumato.diffusion.process import Diffusion
from sfumato.errors import DivergedError, InputError, SfumatoError
from sfumato.files import check_writable
from sfumato.models.folder import save_folder
from sfumato.networks.unet import UNet
from sfumato.training import checkpoint, run_folder
from sfumato.training.batches import Batches
from sfumato.training.checkpoint import Position, Window
from sfumato.training.config import TrainConfig
from sfumato.training.ema import Average, decay
from sfumato.training.preview import preview
from sfumato.training.progress import Log, Meter, memory_mb

__all__ = ["learning_rate", "train"]


def train(config: TrainConfig, console: Console | None = None) -> Path:
    """Train a model.

    Args:
        config: all of it. Two runs with equal configs on one machine end in equal bytes, however often one of them
            was interrupted and resumed.
        console: where progress goes; default: the terminal.

    Returns:
        The finished model's folder, `config.out / "model"`.

    Raises:
        InputError: before the first step, for data, a folder or a setting that cannot work.
        DivergedError: when loss or gradient stop being finite; the last good checkpoint stays.
        SfumatoError: when a checkpoint cannot be written; the one before stays.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    console = console or Console(stderr=True)
    out = config.out
    if config.threads:
        torch.set_num_threads(config.threads)
    device, autocast = choose_device(config)
    data = run_folder.prepare(config, console)
    shape = replace(config.network, in_channels=data.images.shape[3], labels=tuple(map(len, data.kinds.values())))
    labels = LabelSet.of(data.kinds, data.labels, config.label_dropout)
    diffusion = Diffusion(config.schedule.build(), config.prediction)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_torch_seed(config.seed, 0, seeds.Stream.WEIGHTS))
        network = UNet(shape).to(device).train()
    average = Average(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
    )
    size = 4 * sum(p.numel() for p in network.parameters())
    check_writable(out, need_bytes=(config.keep + 2) * 4 * size)
    batches = Batches(data, config.seed, diffusion.schedule.steps, config.label_dropout, config.flip)

    position = Position(0, 0, Window(), data.fingerprint, torch.get_num_threads(), seconds=0.0)
    if config.resume:
        position = checkpoint.load(checkpoint.newest(out / "checkpoints"), network, average, optimizer)
        run_folder.check_same(position, data, console)
    if position.seen > config.pictures:
        raise InputError(
            f"the run in {out} has seen {position.seen:,} pictures, more than the {config.pictures:,} asked for"
        )
    spec = run_folder.model_spec(config, data, labels, shape)
    log = Log(out / "log.jsonl", position.log_bytes)
    meter = Meter(config.pictures, position.seen, console)
    started = time.monotonic() - position.seconds
    seen, recent = position.seen, Recent(out, position.window)

    def save() -> None:
        """A checkpoint, and the model as it is now, from the averaged weights."""
        seconds = time.monotonic() - started
        window = recent.look(batches)  # never save what was not looked at
        position = Position(seen, log.length, window, data.fingerprint, torch.get_num_threads(), round(seconds, 1))
        try:
            checkpoint.save(out / "checkpoints", position, network, average, optimizer, config.keep)
            facts = {**spec.training, "pictures": seen, "seconds": round(seconds)}
            save_folder(out / "model", replace(spec, training=facts), average.values, "average")
        except OSError as error:
            raise SfumatoError(
                f"{out}: the checkpoint at {seen:,} pictures could not be written: {error.strerror or error}. The one "
                f"before is whole. Make room, then go on with: sfumato train --out {out} --resume"
            ) from error

    def every(interval: int, last: int) -> bool:
        """Whether a multiple of `interval` lies in (last, seen]."""
        return interval > 0 and seen // interval > last // interval

    with log, meter, _stop_requests() as stop:
        while seen < config.pictures:
            before = seen
            count = min(config.batch, config.pictures - seen)
            lr = learning_rate(config, seen)
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss = torch.zeros((), device=device)
            for part in _split(count, config.accumulate):
                batch = batches.at(seen, part)
                if config.network.dropout:
                    torch.manual_seed(_torch_seed(config.seed, seen, seeds.Stream.LAYERS))
                x0, eps = batch.x0.to(device), batch.noise.to(device)
                xt = diffusion.noisy(x0, batch.t, eps)
                with autocast:
                    output = network(xt, batch.t, batch.labels.to(device))
                losses = diffusion.loss(output.float(), x0, batch.t, eps, config.weighting)
                partial = losses.sum() / count
                partial.backward()
                loss += partial.detach()
                seen += part
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip, foreach=True)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update(network, decay(count, seen, config.ema_halflife, config.ema_rampup))
            recent.add(before, count, loss, norm)

            finished = seen == config.pictures
            if every(config.log_every, before) or finished:
                window = recent.take(batches)
                meter.report(seen, window.mean)
                facts = {"loss": window.mean, "grad_norm": window.largest, "lr": lr}
                log.write(pictures=seen, **facts, rate=meter.rate, memory_mb=memory_mb())
            if every(config.sample_every, before) or finished:
                preview(spec, network, average, out / "samples" / f"{seen:012d}.png")
            if every(config.checkpoint_every, before) or finished or stop.is_set():
                save()
            if stop.is_set() and not finished:
                console.print(
                    f"Stopped and saved at {seen:,} pictures. Go on with: sfumato train --out {out} --resume",
                    soft_wrap=True,
                )
                raise KeyboardInterrupt
        if position.seen == config.pictures:  # nothing was left to do, but the model may have gone unwritten
            save()
    return out / "model"


def learning_rate(config: TrainConfig, seen: int) -> float:
    """Up from 0 over the warm-up, level, then down to 0 over the last `cooldown` share of the run."""
    rise = (seen + config.batch) / max(config.warmup, 1)
    fall = (config.pictures - seen) / max(config.cooldown * config.pictures, 1e-9)
    return config.lr * min(1.0, rise, fall)


def choose_device(config: TrainConfig) -> tuple[torch.device, torch.autocast]:
    """The device, and the arithmetic on it: bf16 where it is asked for, or where a GPU has it."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here: {error}") from error
    half = config.precision == "bf16" or (
        config.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return device, torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)


class Recent:
    """Loss and gradient norm since the last line of the log, left on the device so that no step waits for them."""

    def __init__(self, out: Path, window: Window) -> None:
        self._out, self._window = out, window
        self._steps: list[tuple[int, int]] = []
        self._values: list[Tensor] = []

    def add(self, seen: int, count: int, loss: Tensor, norm: Tensor) -> None:
        self._steps.append((seen, count))
        self._values.append(torch.stack([loss, norm]))

    def look(self, batches: Batches) -> Window:
        """What there was since the last line of the log.

        Raises `DivergedError` naming the first step whose numbers are not finite, and the pictures in it.
        """
        values = torch.stack(self._values).tolist() if self._values else []
        for (seen, count), (loss, norm) in zip(self._steps, values, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise DivergedError(self._explain(seen, loss, norm, batches.at(seen, count).pictures.tolist()))
            self._window = self._window.with_step(loss, norm, count)
        self._steps.clear()
        self._values.clear()
        return self._window

    def take(self, batches: Batches) -> Window:
        """As `look`, and begin anew."""
        window, self._window = self.look(batches), Window()
        return window

    def _explain(self, seen: int, loss: float, norm: float, index: list[int]) -> str:
        shown = ", ".join(map(str, index[:16])) + (" …" if len(index) > 16 else "")
        return (
            f"training broke down at the step after {seen:,} pictures: loss {loss}, gradient norm {norm}. Its batch "
            f"holds the pictures number {shown} of the data. The last checkpoint in {self._out / 'checkpoints'} is "
            "good. Lower --lr or --clip, or look at those pictures, then go on with --resume."
        )


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second one is not held back. Only the main thread can catch signals."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: object) -> None:
        stop.set()
        for known, handler in old.items():
            signal.signal(known, handler)

    for number in old:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _split(count: int, parts: int) -> list[int]:
    """`count` pictures in at most `parts` micro-batches of nearly equal size."""
    small, more = divmod(count, parts)
    return [size for i in range(parts) if (size := small + (i < more))]


def _torch_seed(seed: int, number: int, stream: seeds.Stream) -> int:
    return int(seeds.generator(seed, number, stream).bit_generator.random_raw()) % 2**63
