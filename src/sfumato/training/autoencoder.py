"""Training a KL autoencoder. Read it from top to bottom: that is the order in which things happen.

Rombach et al. 2022, section 3.1; Esser et al. 2021, section 3.1. Which pictures come when, and the noise of their
latents, are functions of (seed, pictures seen), as in the training of a model: a checkpoint holds no random state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from sfumato import seeds
from sfumato.data.dataset import Dataset
from sfumato.devices import find_device
from sfumato.errors import InputError
from sfumato.evaluation.perceptual import PerceptualDistance
from sfumato.memory import keep_freed_memory
from sfumato.networks.autoencoder import Autoencoder
from sfumato.networks.autoencoder_config import AutoencoderConfig
from sfumato.networks.discriminator import PatchDiscriminator
from sfumato.training import autoencoder_folder, checkpoint
from sfumato.training.adversarial import adaptive_weight, discriminator_loss, fooling_loss
from sfumato.training.autoencoder_config import TrainAutoencoderConfig
from sfumato.training.batches import Batches
from sfumato.training.board import Board, check_board
from sfumato.training.checkpoint import Position
from sfumato.training.ema import Average, decay
from sfumato.training.entries import check_room
from sfumato.training.held_out import split
from sfumato.training.pacing import disk_errors, learning_rate, stop_requests
from sfumato.training.pictures import open_packed
from sfumato.training.progress import Log, Meter, memory_mb
from sfumato.training.recent import Recent
from sfumato.training.run_folder import check_folder, check_same, locked, record
from sfumato.training.steps import steps

__all__ = ["train_autoencoder"]

PARTS = ("reconstruction", "kl", "fooling", "discriminator", "adaptive_weight")  # told in log.jsonl beside the loss


def train_autoencoder(config: TrainAutoencoderConfig, console: Console | None = None) -> Path:
    """Train an autoencoder.

    Args:
        config: all of it. Two runs with equal configs on one machine end in equal bytes, however often one of them
            was interrupted and resumed.
        console: where progress goes; default: the terminal.

    Returns:
        The finished autoencoder's folder, `config.out / "model"`. Beside it lie report.json and pairs.png.

    Raises:
        InputError: before the first step, for data, a folder or a setting that cannot work.
        DivergedError: when loss or gradient stop being finite; the last good checkpoint stays.
        SfumatoError: when a checkpoint cannot be written; the one before stays.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    console = console or Console(stderr=True)
    device = find_device(config.device)
    perceptual = PerceptualDistance(str(device)) if config.perceptual else None
    with locked(config.out), torch.random.fork_rng():
        if config.threads:
            torch.set_num_threads(config.threads)
        keep_freed_memory()
        return _train(config, console, device, perceptual)


def _train(
    config: TrainAutoencoderConfig, console: Console, device: torch.device, perceptual: PerceptualDistance | None
) -> Path:
    out = config.out

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)

    check_board(config)
    check_folder(config, say)
    data = open_packed(config, say)
    kept, held = split(data, config.held_out, config.seed, labelled=False)
    shape = _shape(config, data)
    batches = Batches(kept, config.seed, flip=config.flip)
    torch.manual_seed(seeds.torch_seed(config.seed, 0, seeds.Stream.WEIGHTS))
    network = Autoencoder(shape).to(device).train()
    judge = PatchDiscriminator(shape.in_channels, config.discriminator_channels, config.discriminator_layers).to(device)
    both = nn.ModuleDict({"autoencoder": network, **({"discriminator": judge} if config.adversarial else {})})
    average = Average(network)
    states = {"weights": both.state_dict(), "average": average.values}
    optimizer = torch.optim.AdamW(
        [{"params": part.parameters(), "betas": BETAS[name]} for name, part in both.items()],
        lr=config.lr,
        weight_decay=config.weight_decay,
        fused=True,
    )
    check_room(out / "checkpoints", 16 * sum(p.numel() for p in both.parameters()), config.keep)

    position = Position()
    if config.resume:
        position = checkpoint.restore(out / "checkpoints", states, optimizer, say)
    machine = f"{device.type}, fp32, {torch.get_num_threads()} threads, torch {torch.__version__}"
    check_same(position, data.fingerprint, machine, say)
    if position.seen > config.pictures:
        raise InputError(
            f"the run in {out} has seen {position.seen:,} pictures, more than the {config.pictures:,} asked for"
        )
    record(config)
    say(f"{len(kept):,} pictures to learn from, {len(held):,} kept back")
    board = Board(config, position.seen) if config.tensorboard else None
    log = Log(out / "log.jsonl", position.log_bytes, board)
    if log.missing:
        say(f"Note: {log.missing} bytes of {out / 'log.jsonl'} are gone; it goes on from here.")
    meter = Meter(config.pictures, position.seen, console)
    started = time.monotonic() - position.seconds
    seen, recent = position.seen, Recent(out, position.window, PARTS, config.verb)

    def every(interval: int, last: int) -> bool:
        """Whether a multiple of `interval` lies in (last, seen]."""
        return interval > 0 and seen // interval > last // interval

    whole = (seen, config.pictures, config.batch)
    ahead = batches.ahead(steps(*whole), config.workers)
    with log, meter, stop_requests() as stop, closing(ahead):
        for before, count in steps(*whole):
            lr = learning_rate(config, seen)
            for group in optimizer.param_groups:
                group["lr"] = lr
            x = next(ahead).x0.to(device)
            latent = (shape.latent_channels, x.shape[2] // shape.factor, x.shape[3] // shape.factor)
            numbers = [(config.seed, n) for n in range(seen, seen + count)]
            noise = seeds.noise(numbers, latent, seeds.Stream.TRAIN_NOISE).to(device)

            posterior = network.encode(x)
            made = network.decode(posterior.sample(noise))
            reconstruction = _distance(config, perceptual, x, made)
            kl = posterior.kl().mean()
            loss = reconstruction + config.kl_weight * kl / x[0].numel()
            told = [reconstruction, kl]
            if config.adversarial and seen >= config.adversarial_start:
                norm, extra = _adversarial_backward(config, network, judge, loss, reconstruction, x, made)
                told += extra
            else:
                loss.backward()
                norm, zero = _clip(config, network), torch.zeros((), device=device)
                told += [zero, zero, zero]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seen += count
            average.update(network, decay(count, seen, config.ema_halflife, config.ema_rampup))
            recent.add(before, count, loss.detach(), norm, *(number.detach() for number in told))

            finished = seen == config.pictures
            with disk_errors(config, seen):
                if every(config.log_every, before) or finished:
                    window = recent.take(batches)
                    meter.report(seen, window.mean)
                    facts = {"loss": window.mean, **window.parts, "grad_norm": window.largest, "lr": lr}
                    log.write(pictures=seen, **facts, rate=meter.rate, memory_mb=memory_mb())
                if every(config.sample_every, before):
                    recent.look(batches)
                    path = out / "samples" / f"{seen:012d}.png"
                    log.sheet(seen, autoencoder_folder.preview(shape, average, config, held, path))
                if every(config.checkpoint_every, before) or finished or stop.is_set():
                    window, spent = recent.look(batches), round(time.monotonic() - started, 1)
                    now = Position(seen, log.settle(), window, data.fingerprint, machine, spent)
                    checkpoint.save(out / "checkpoints", now, states, optimizer, config.keep)
            if stop.is_set() and not finished:
                say(f"Stopped and saved at {seen:,} pictures. Go on with: sfumato {config.verb} --out {out} --resume")
                raise KeyboardInterrupt
    with disk_errors(config, seen):
        return autoencoder_folder.finish(shape, average, config, data, kept, held, device)


# the discriminator has no memory of where the decoder was long ago
BETAS = {"autoencoder": (0.9, 0.99), "discriminator": (0.5, 0.9)}


def _distance(
    config: TrainAutoencoderConfig, perceptual: Callable[[Tensor, Tensor], Tensor] | None, x: Tensor, made: Tensor
) -> Tensor:
    """How far `made` is from x: mean errors of a value, and of feature maps."""
    error = made - x
    distance = config.l1 * error.abs().mean() + config.l2 * error.square().mean()
    return distance + config.perceptual * perceptual(x, made).mean() if perceptual else distance


def _adversarial_backward(
    config: TrainAutoencoderConfig,
    network: Autoencoder,
    judge: PatchDiscriminator,
    loss: Tensor,
    reconstruction: Tensor,
    x: Tensor,
    made: Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of both: the autoencoder's, which is also to fool, then the discriminator's on the same pictures.

    Returns the larger of the gradients' norms, and the last three of PARTS.
    """
    judge.requires_grad_(False)
    fooling = fooling_loss(judge(made))
    weight = adaptive_weight(reconstruction, fooling, network.last_weight)
    (loss + config.adversarial * weight * fooling).backward()
    judge.requires_grad_(True)
    error = discriminator_loss(judge(x), judge(made.detach()))
    error.backward()
    return torch.maximum(_clip(config, network), _clip(config, judge)), [fooling, error, weight]


def _clip(config: TrainAutoencoderConfig, network: nn.Module) -> Tensor:
    return nn.utils.clip_grad_norm_(network.parameters(), config.clip, foreach=True)


def _shape(config: TrainAutoencoderConfig, data: Dataset) -> AutoencoderConfig:
    """The network's shape with the channels of the data. `InputError` when the config says otherwise."""
    channels, asked = data.shape[2], config.network.in_channels
    if asked not in (AutoencoderConfig().in_channels, channels):
        raise InputError(f"network.in_channels is {asked}, but the data has {channels} channels")
    return replace(config.network, in_channels=channels)
