"""Training a classifier of noisy pictures, with the noise of the model that it will guide.

Dhariwal & Nichol 2021, section 4. Which pictures come when, their noise and their times are `Batches` of the run's
seed, as in the training of a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from sfumato import seeds
from sfumato._version import __version__
from sfumato.conditioning.labels import LabelSet
from sfumato.data.dataset import Dataset
from sfumato.data.sources import open_data
from sfumato.devices import find_device
from sfumato.diffusion import forward
from sfumato.errors import DivergedError, InputError
from sfumato.files import check_writable
from sfumato.memory import keep_freed_memory
from sfumato.models.classifier import DESCRIPTION, ClassifierSpec, save_classifier_folder
from sfumato.models.folder import check_replaceable, load_folder
from sfumato.models.shipped import find_folder
from sfumato.models.spec import ModelSpec
from sfumato.networks.classifier import NoisyClassifier, label_log_probability
from sfumato.training.batches import Batches
from sfumato.training.classifier_config import ClassifierConfig
from sfumato.training.ema import Average, decay
from sfumato.training.held_out import accuracy, chance, split
from sfumato.training.pacing import learning_rate, stop_requests
from sfumato.training.progress import Meter
from sfumato.training.subject import network_for
from sfumato.training.times import on_steps

__all__ = ["train_classifier"]


def train_classifier(config: ClassifierConfig, console: Console | None = None) -> ClassifierSpec:
    """Train a classifier and write its folder, `config.out`.

    The loss is -log p(labels|x_t) summed over the kinds of labels and averaged over the pictures, at times spread
    evenly over the schedule's steps. Equal configs on one machine end in equal weights.

    Args:
        config: all of it.
        console: where progress goes; default: the terminal.

    Returns:
        The description that was written, with the share told right at several noise levels.

    Raises:
        InputError: before the first step, for data, a model or a folder that cannot work.
        DivergedError: when loss or gradient stop being finite; nothing is written.
        KeyboardInterrupt: after Ctrl-C, once the classifier as it then is was saved.
    """
    console = console or Console(stderr=True)
    check_replaceable(config.out, DESCRIPTION)
    if (config.out / DESCRIPTION).exists():
        raise InputError(f"{config.out} already holds a classifier. Choose another folder.")
    device = find_device(config.device)
    model, _ = load_folder(find_folder(config.model))
    kept, held = split(_open(config, model), config.held_out, config.seed)
    with torch.random.fork_rng():
        if config.threads:
            torch.set_num_threads(config.threads)
        keep_freed_memory()
        return _train(config, console, device, model, kept, held)


def _train(
    config: ClassifierConfig, console: Console, device: torch.device, model: ModelSpec, data: Dataset, held: Dataset
) -> ClassifierSpec:
    def say(text: str) -> None:
        console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)

    spec = _describe(config, model, data)
    schedule = spec.schedule.build()
    batches = Batches(data, config.seed, flip=config.flip)
    torch.manual_seed(seeds.torch_seed(config.seed, 0, seeds.Stream.WEIGHTS))  # and of the dropout masks that follow
    network = NoisyClassifier(spec.network).to(device).train()
    average = Average(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.lr, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True
    )
    check_writable(config.out.parent, need_bytes=8 * sum(p.numel() for p in network.parameters()))
    say(f"{data.name}: {len(data):,} pictures to learn from, {len(held):,} kept back; noise of {model.name}")

    meter, seen, steps, finished = Meter(config.pictures, 0, console), 0, [], False
    with meter, stop_requests() as stop:
        while not finished:
            before, count = seen, min(config.batch, config.pictures - seen)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, seen)
            batch = batches.at(seen, count)
            t = on_steps(batch.fraction, schedule.steps)
            xt = forward.noisy(schedule, batch.x0.to(device), t, batch.noise.to(device))
            logits = network(forward.network_input(schedule, xt, t), t)
            loss = -label_log_probability(logits, batch.labels.to(device)).mean()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip, foreach=True)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seen += count
            average.update(network, decay(count, seen, config.ema_halflife, config.ema_rampup))
            steps.append(Step(before, count, torch.stack([loss.detach(), norm])))
            finished = seen == config.pictures or stop.is_set()
            if seen // config.log_every > before // config.log_every or finished:
                meter.report(seen, _mean_loss(steps, batches))
                steps.clear()

    averaged = NoisyClassifier.from_tensors(spec.network, average.values)
    told = accuracy(averaged, held, schedule, config.seed, device)
    facts = {**spec.training, "pictures": seen}
    spec = replace(spec, training=facts, held_out=len(held), chance=chance(data, held), accuracy=told)
    spec = save_classifier_folder(config.out, spec, average.values)
    if seen < config.pictures:
        say(f"Stopped at {seen:,} pictures, and saved as it is: {config.out}")
        raise KeyboardInterrupt
    return spec


class Step(NamedTuple):
    """What is kept of a step until it is looked at; its numbers stay on the device."""

    seen: int  # pictures before it
    shown: int  # pictures in it
    numbers: Tensor  # loss, gradient norm


def _mean_loss(steps: list[Step], batches: Batches) -> float:
    """Mean loss over the pictures of these steps. Raises `DivergedError` naming the first that is not finite."""
    values = torch.stack([step.numbers for step in steps]).tolist()
    for step, (loss, norm) in zip(steps, values, strict=True):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            pictures = batches.at(step.seen, step.shown).pictures[:16].tolist()
            raise DivergedError(
                f"training broke down at the step after {step.seen:,} pictures: loss {loss}, gradient norm {norm}. "
                f"Its batch holds the pictures number {', '.join(map(str, pictures))} of those to learn from. Try a "
                "lower --lr or --clip."
            )
    return sum(step.shown * loss for step, (loss, _) in zip(steps, values, strict=True)) / sum(s.shown for s in steps)


def _open(config: ClassifierConfig, model: ModelSpec) -> Dataset:
    """The data in the model's shape. `InputError` when it has no labels, or others than the model."""
    shape = (*model.size, model.network.in_channels)
    data = open_data(config.data, size=model.size, mode={1: "L", 3: "RGB"}.get(shape[2]))
    if data.shape != shape:
        raise InputError(f"{data.name} has pictures of {data.shape}, the model {shape}")
    if not data.kinds:
        raise InputError(f"{data.name} has no labels to learn. In a folder, sub-folders are labels.")
    if model.labels.kinds and list(model.labels.kinds.items()) != list(data.kinds.items()):
        raise InputError(
            f"{data.name} has the labels {_listed(data.kinds)}; the model {model.name!r} was trained with "
            f"{_listed(model.labels.kinds)}. A classifier needs the same to guide it."
        )
    return data


def _listed(kinds: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())


def _describe(config: ClassifierConfig, model: ModelSpec, data: Dataset) -> ClassifierSpec:
    return ClassifierSpec(
        name=f"{data.name} classifier",
        network=network_for(config.network, data.images.shape[3], tuple(map(len, data.kinds.values()))),
        schedule=model.schedule,
        size=model.size,
        labels=LabelSet.of(data.kinds, data.labels, dropout=0.0),
        training={
            "pictures": 0,
            "batch": config.batch,
            "seed": config.seed,
            "learning_rate": config.lr,
            "model": model.name,
            "sfumato": __version__,
            "torch": torch.__version__,
        },
        data={"name": data.name, "count": len(data), "fingerprint": data.fingerprint, "source": data.source},
        licence="that of its training data; decide before you publish it",
    )
