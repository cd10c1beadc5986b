"""The training loop. Read it from top to bottom: that is the order in which things happen."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from sfumato import seeds
from sfumato.devices import find_device
from sfumato.diffusion.prediction import check_prediction
from sfumato.diffusion.process import Diffusion
from sfumato.errors import InputError
from sfumato.files import check_writable
from sfumato.models.folder import save_folder
from sfumato.networks.condition import Condition
from sfumato.networks.unet import UNet
from sfumato.training import checkpoint, run_folder
from sfumato.training.averages import Averages
from sfumato.training.checkpoint import Position
from sfumato.training.config import TrainConfig
from sfumato.training.objective import Objective
from sfumato.training.pacing import disk_errors, learning_rate, stop_requests
from sfumato.training.preview import preview
from sfumato.training.progress import Log, Meter, memory_mb
from sfumato.training.recent import Recent
from sfumato.training.subject import model_spec, open_subject

__all__ = ["train"]

MAX_TERMINAL_SNR = 0.02  # Stable Diffusion's 0.0047 is known to show; beyond this, what comes out is no picture


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
    device, autocast = choose_arithmetic(config)
    with run_folder.locked(config.out), torch.random.fork_rng():
        if config.threads:
            torch.set_num_threads(config.threads)
        return _train(config, console, device, autocast)


def _train(config: TrainConfig, console: Console, device: torch.device, autocast: torch.autocast) -> Path:
    out = config.out

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)

    diffusion = Diffusion(config.schedule.build(), check_prediction(config.prediction), config.objective.sigma_data)
    if diffusion.schedule.terminal_snr > MAX_TERMINAL_SNR:
        raise InputError(
            f"the schedule ends at an SNR of {diffusion.schedule.terminal_snr:.2g}: training would never see what "
            "sampling starts from. Use more steps, another schedule, or --schedule.zero-terminal-snr."
        )
    objective = Objective(config, diffusion, device)
    data = run_folder.open_run(config, say)
    subject = open_subject(config, data, device, say)
    batches = subject.batches
    spec = model_spec(config, subject)

    torch.manual_seed(seeds.torch_seed(config.seed, 0, seeds.Stream.WEIGHTS))
    network = UNet(subject.network).to(device).train()
    averages = Averages(config, network)
    learned = [*network.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(
        learned, lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True
    )
    states = {"weights": network.state_dict(), **averages.states, "objective": objective.state_dict()}
    size = 4 * sum(p.numel() for p in learned)
    check_writable(out, need_bytes=(config.keep + 2) * (3 + len(averages)) * size)

    position = Position()
    if config.resume:
        position = checkpoint.restore(out / "checkpoints", states, optimizer, say)
    arithmetic = "bf16" if autocast._enabled else "fp32"
    machine = f"{device.type}, {arithmetic}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    run_folder.check_same(position, subject.fingerprint, machine, say)
    if position.seen > config.pictures:
        raise InputError(
            f"the run in {out} has seen {position.seen:,} pictures, more than the {config.pictures:,} asked for"
        )
    run_folder.record(config)
    log = Log(out / "log.jsonl", position.log_bytes)
    if log.missing:
        say(f"Note: {log.missing} bytes of {out / 'log.jsonl'} are gone; it goes on from here.")
    meter = Meter(config.pictures, position.seen, console)
    started = time.monotonic() - position.seconds
    seen, recent = position.seen, Recent(out, position.window)

    def save() -> None:
        """A checkpoint, and the model as it is now, from the averaged weights."""
        seconds = time.monotonic() - started
        window = recent.look(batches)  # never save what was not looked at
        now = Position(seen, log.settle(), window, subject.fingerprint, machine, round(seconds, 1))
        checkpoint.save(out / "checkpoints", now, states, optimizer, config.keep)
        facts = {**spec.training, "pictures": seen, "seconds": round(seconds)}
        described = replace(spec, training=facts)
        save_folder(out / "model", described, averages.main.values, "average", parts=subject.parts)

    def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with autocast:
            return network(x, t, condition).float()

    def every(interval: int, last: int) -> bool:
        """Whether a multiple of `interval` lies in (last, seen]."""
        return interval > 0 and seen // interval > last // interval

    with log, meter, stop_requests() as stop:
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
                    torch.manual_seed(seeds.torch_seed(config.seed, seen, seeds.Stream.LAYERS))
                losses = objective(predict, batch, subject.told(batch).to(device))
                partial = losses.sum() / count
                partial.backward()
                loss += partial.detach()
                seen += part
            norm = nn.utils.clip_grad_norm_(learned, config.clip, foreach=True)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            objective.settle()
            averages.update(network, count, seen)
            recent.add(before, count, loss, norm)

            finished = seen == config.pictures
            with disk_errors(config, seen):
                if every(config.log_every, before) or finished:
                    window = recent.take(batches)
                    meter.report(seen, window.mean)
                    facts = {"loss": window.mean, "grad_norm": window.largest, "lr": lr}
                    log.write(pictures=seen, **facts, rate=meter.rate, memory_mb=memory_mb())
                if every(config.sample_every, before) or (finished and config.sample_every):
                    recent.look(batches)
                    preview(spec, subject, network, averages.main, out / "samples" / f"{seen:012d}.png")
                if every(config.averages.every, before) or finished:
                    averages.snapshot(out, seen)
                if every(config.checkpoint_every, before) or finished or stop.is_set():
                    save()
            if stop.is_set() and not finished:
                say(f"Stopped and saved at {seen:,} pictures. Go on with: sfumato train --out {out} --resume")
                raise KeyboardInterrupt
        if position.seen == config.pictures:  # nothing was left to do, but the model may have gone unwritten
            with disk_errors(config, seen):
                save()
    return out / "model"


def choose_arithmetic(config: TrainConfig) -> tuple[torch.device, torch.autocast]:
    """The device, and the arithmetic on it: bf16 where it is asked for, or where a GPU has it."""
    if config.precision not in ("auto", "fp32", "bf16"):
        raise InputError(f"precision is auto, fp32 or bf16, not {config.precision!r}")
    device = find_device(config.device)
    half = config.precision == "bf16" or (
        config.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return device, torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)


def _split(count: int, parts: int) -> list[int]:
    """`count` pictures in at most `parts` micro-batches of nearly equal size."""
    small, more = divmod(count, parts)
    return [size for i in range(parts) if (size := small + (i < more))]
