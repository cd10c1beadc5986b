"""The training loop. Read it from top to bottom: that is the order in which things happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, nullcontext
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
from sfumato.memory import keep_freed_memory
from sfumato.networks.condition import Condition
from sfumato.networks.unet import UNet
from sfumato.training import checkpoint, run_folder
from sfumato.training.averages import Averages
from sfumato.training.board import Board, check_board
from sfumato.training.checkpoint import Position
from sfumato.training.config import TrainConfig
from sfumato.training.entries import check_room
from sfumato.training.objective import Objective, Predict
from sfumato.training.pacing import disk_errors, learning_rate, stop_requests
from sfumato.training.parent import open_parent
from sfumato.training.pictures import open_pictures, tell_unreadable
from sfumato.training.preview import preview
from sfumato.training.progress import Log, Meter, memory_mb
from sfumato.training.ranks import World, joined
from sfumato.training.recent import Recent
from sfumato.training.relief import Advice, place_of_run
from sfumato.training.steps import Part, parts, split, steps
from sfumato.training.student import begin
from sfumato.training.subject import model_spec, open_subject
from sfumato.training.watch import Watch

__all__ = ["train"]

MAX_TERMINAL_SNR = 0.02  # Stable Diffusion's 0.0047 is known to show; beyond this, what comes out is no picture


def train(config: TrainConfig, console: Console | None = None) -> Path:
    """Train a model.

    Args:
        config: all of it. Two runs with equal configs on one machine end in equal bytes, however often one of them
            was interrupted and resumed.
        console: where progress goes; default: the terminal.

    Returns:
        The finished model's folder, `config.out / "model"`; an adapter's file, `config.out / "adapter.safetensors"`.

    Raises:
        InputError: before the first step, for data, a folder or a setting that cannot work.
        DivergedError: when loss or gradient stop being finite; the last good checkpoint stays.
        SfumatoError: when a checkpoint cannot be written; the one before stays. When memory runs out, with what helps.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    console = console or Console(stderr=True)
    with joined(config) as world, run_folder.locked(config.out) if world.leads else nullcontext():
        device, autocast = choose_arithmetic(config)
        with torch.random.fork_rng():
            if config.threads:
                torch.set_num_threads(config.threads)
            keep_freed_memory()
            return _train(config, console if world.leads else Console(quiet=True), device, autocast, world)


def _train(config: TrainConfig, console: Console, device: torch.device, autocast: torch.autocast, world: World) -> Path:
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
    check_board(config)
    with world.leader_first():
        if world.leads:
            run_folder.check_folder(config, say)
        prepared = config if world.leads else replace(config, resume=True)
        data = open_pictures(prepared, say)
        subject = open_subject(config, data, device, say, open_parent(prepared))
    batches = subject.batches
    spec = model_spec(config, subject)

    torch.manual_seed(seeds.torch_seed(config.seed, 0, seeds.Stream.WEIGHTS))
    student = begin(config, subject, device, say)
    network, learning = student.network, student.learning
    network.recomputes = config.gradient_checkpointing
    called = in_training(config, network, world, say)

    def predict(x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        with autocast:
            return called(x, t, condition).float()

    losses_of = world.share(network, objective, predict)
    averages = Averages(config, learning)
    learned = [*learning.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(
        learned, lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay, fused=True
    )
    states = {"weights": learning.state_dict(), **averages.states, "objective": objective.state_dict()}
    size = 4 * sum(p.numel() for p in learned)
    if world.leads:
        check_room(out / "checkpoints", (3 + len(averages)) * size, config.keep)

    position = Position()
    if config.resume:
        with world.leader_first():
            position = checkpoint.restore(out / "checkpoints", states, optimizer, say, world)
    arithmetic = "bf16" if autocast._enabled else "fp32"
    machine = f"{device.type}, {arithmetic}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    machine += world.described + (", compiled" if config.compile else "")
    run_folder.check_same(position, subject.fingerprint, machine, say)
    if position.seen > config.pictures:
        raise InputError(
            f"the run in {out} has seen {position.seen:,} pictures, more than the {config.pictures:,} asked for"
        )
    if world.leads:
        run_folder.record(config)
    board = Board(config, position.seen) if config.tensorboard and world.leads else None
    log = Log(out / "log.jsonl" if world.leads else None, position.log_bytes, board)
    if log.missing:
        say(f"Note: {log.missing} bytes of {out / 'log.jsonl'} are gone; it goes on from here.")
    meter = Meter(config.pictures, position.seen, console)
    started = time.monotonic() - position.seconds
    seen, recent = position.seen, Recent(out, position.window)

    def save() -> None:
        """A checkpoint."""
        seconds = time.monotonic() - started
        window = recent.look(batches)  # never save what was not looked at
        now = Position(seen, log.settle(), window, subject.fingerprint, machine, round(seconds, 1), watch.told)
        checkpoint.save(out / "checkpoints", now, states, optimizer, config.keep, world)

    def save_model() -> None:
        """The model as it is now, from the averaged weights."""
        facts = {**spec.training, "pictures": seen, "seconds": round(time.monotonic() - started)}
        described, values = replace(spec, training=facts), world.whole(averages.main.values)
        if world.leads:
            student.save(out, described, values)

    def every(interval: int, last: int) -> bool:
        """Whether a multiple of `interval` lies in (last, seen]."""
        return interval > 0 and seen // interval > last // interval

    watch = Watch(config, subject, objective, network, predict, say, position.told)
    watch.start()
    advice = Advice(config, place_of_run(spec, learning, device, autocast), world.size)
    advice.warn(say)
    whole, here = (seen, config.pictures, config.batch), (config.accumulate, world.rank, world.size)
    ahead = batches.ahead(parts(*whole, *here), config.workers)
    with log, meter, stop_requests(patient=world.size > 1) as stop, closing(ahead), advice.errors():
        for step in steps(*whole):
            before, count = step
            lr = learning_rate(config, seen)
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss = torch.zeros((), device=device)
            mine = split(step, *here)
            for i, part in enumerate(mine, 1):
                batch = next(ahead)
                if config.network.dropout:
                    torch.manual_seed(seeds.torch_seed(config.seed, part.first, seeds.Stream.LAYERS))
                with world.apart(losses_of, more=i < len(mine)):
                    losses = losses_of(batch, subject.told(batch).to(device), part.count)
                    partial = losses.sum() / count
                    (world.size * partial).backward()  # of which the mean over the ranks is taken
                loss += partial.detach()
            seen += count
            norm = world.full(nn.utils.clip_grad_norm_(learned, config.clip, foreach=True))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            by_time = watch.by_time(objective.settle(world.rows))
            averages.update(learning, count, seen)
            recent.add(before, count, world.sum(loss), norm, by_time=world.sum(by_time))

            finished, stopped = seen == config.pictures, world.any(stop.is_set())
            with disk_errors(config, seen):
                if every(config.sample_every, before) or (finished and config.sample_every):
                    recent.look(batches)
                    values = world.whole(averages.main.values)
                    if world.leads:
                        samples = preview(spec, student, values, out / "samples" / f"{seen:012d}.png")
                        watch.samples(seen, samples.array)
                        log.sheet(seen, samples.grid())
                if every(config.log_every, before) or finished:
                    window = recent.take(batches)
                    meter.report(seen, window.mean)
                    facts = {"loss": window.mean, "grad_norm": window.largest, "lr": lr}
                    told = {**batches.unreadable(world.together), **watch.line(seen, window)}
                    log.write(pictures=seen, **facts, rate=meter.rate, memory_mb=memory_mb(), **told)
                if every(config.averages.every, before) or finished:
                    averages.snapshot(out, seen, world)
                if every(config.checkpoint_every, before) or finished or stopped:
                    save()
                    save_model()
            if stopped and not finished:
                world.wait()  # none ends while another one still saves
                say(f"Stopped and saved at {seen:,} pictures. Go on with: sfumato train --out {out} --resume")
                raise KeyboardInterrupt
        if position.seen == config.pictures:  # nothing was left to do, but the model may have gone unwritten
            with disk_errors(config, seen):
                save_model()
    tell_unreadable(subject.data, say)
    return out / student.result


def in_training(config: TrainConfig, network: UNet, world: World, say: Callable[[str], None]) -> Predict:
    """What is called in the place of a network."""
    if not config.compile:
        return network
    from sfumato.training.compiled import Compiled  # torch's compiler takes seconds to import

    whole = split(Part(0, config.batch), config.accumulate, world.rank, world.size)
    return Compiled(network, {part.count for part in whole}, say)


def choose_arithmetic(config: TrainConfig) -> tuple[torch.device, torch.autocast]:
    """The device, and the arithmetic on it: bf16 where it is asked for, or where a GPU has it."""
    if config.precision not in ("auto", "fp32", "bf16"):
        raise InputError(f"precision is auto, fp32 or bf16, not {config.precision!r}")
    device = find_device(config.device)
    half = config.precision == "bf16" or (
        config.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return device, torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)
