"""ADM as its papers and its state dict describe it, written down as functions of a dictionary of tensors.

An independent second opinion on our U-Net: no modules, no configuration objects. A walk over the names of the state
dict decides what is done next. Nichol & Dhariwal 2021, Dhariwal & Nichol 2021; names as in OpenAI's checkpoints.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

GROUPS, EPS = 32, 1e-5


def state(
    *, channels, widths, blocks, attention, in_channels=3, out_channels=3, scale_shift=False, updown=False, classes=0
):
    """A random state dict. `attention`: the levels that have it."""
    generator = torch.Generator().manual_seed(7)
    result = {}

    def put(name, *shape: int, centre=0.0):
        spread = 0.3 if len(shape) < 2 else math.prod(shape[1:]) ** -0.5
        result[f"{name}.weight"] = centre + spread * torch.randn(shape, generator=generator)
        if name != "label_emb":
            result[f"{name}.bias"] = 0.3 * torch.randn(shape[:1], generator=generator)

    def block(name, came, width):
        put(f"{name}.in_layers.0", came, centre=1.0)
        put(f"{name}.in_layers.2", width, came, 3, 3)
        put(f"{name}.emb_layers.1", width * (2 if scale_shift else 1), 4 * channels)
        put(f"{name}.out_layers.0", width, centre=1.0)
        put(f"{name}.out_layers.3", width, width, 3, 3)
        if came != width:
            put(f"{name}.skip_connection", width, came, 1, 1)

    def attend(name, width):
        put(f"{name}.norm", width, centre=1.0)
        put(f"{name}.qkv", 3 * width, width, 1)
        put(f"{name}.proj_out", width, width, 1)

    put("time_embed.0", 4 * channels, channels)
    put("time_embed.2", 4 * channels, 4 * channels)
    if classes:
        put("label_emb", classes, 4 * channels)
    put("input_blocks.0.0", channels, in_channels, 3, 3)
    skips, width, n = [channels], channels, 1
    for level, target in enumerate(widths):
        for _ in range(blocks):
            block(f"input_blocks.{n}.0", width, target)
            width = target
            if level in attention:
                attend(f"input_blocks.{n}.1", width)
            skips.append(width)
            n += 1
        if level + 1 < len(widths):
            if updown:
                block(f"input_blocks.{n}.0", width, width)
            else:
                put(f"input_blocks.{n}.0.op", width, width, 3, 3)
            skips.append(width)
            n += 1
    block("middle_block.0", width, width)
    attend("middle_block.1", width)
    block("middle_block.2", width, width)
    n = 0
    for level in reversed(range(len(widths))):
        for i in range(blocks + 1):
            block(f"output_blocks.{n}.0", width + skips.pop(), widths[level])
            width, inner = widths[level], 1
            if level in attention:
                attend(f"output_blocks.{n}.1", width)
                inner = 2
            if level > 0 and i == blocks:
                if updown:
                    block(f"output_blocks.{n}.{inner}", width, width)
                else:
                    put(f"output_blocks.{n}.{inner}.conv", width, width, 3, 3)
            n += 1
    put("out.0", width, centre=1.0)
    put("out.2", out_channels, width, 3, 3)
    return result


def run(tensors, x, index, labels=None, *, heads=None, head_channels=None, by_head=True):
    """The network's output for step `index` of its training."""

    def layer(name):
        return tensors[f"{name}.weight"], tensors[f"{name}.bias"]

    def norm(name, h):
        return F.group_norm(h, GROUPS, *layer(name), eps=EPS)

    def block(name, h, emb, resize):
        width = len(tensors[f"{name}.out_layers.0.weight"])
        inner, outer = resize(F.silu(norm(f"{name}.in_layers.0", h))), resize(h)
        inner = F.conv2d(inner, *layer(f"{name}.in_layers.2"), padding=1)
        told = F.linear(F.silu(emb), *layer(f"{name}.emb_layers.1"))[:, :, None, None]
        if told.shape[1] == 2 * width:
            inner = norm(f"{name}.out_layers.0", inner) * (1 + told[:, :width]) + told[:, width:]
        else:
            inner = norm(f"{name}.out_layers.0", inner + told)
        inner = F.conv2d(F.silu(inner), *layer(f"{name}.out_layers.3"), padding=1)
        if f"{name}.skip_connection.weight" in tensors:
            outer = F.conv2d(outer, *layer(f"{name}.skip_connection"))
        return outer + inner

    def attend(name, h):
        n, width, *side = h.shape
        count = heads or width // head_channels
        d = width // count
        weight, bias = layer(f"{name}.qkv")
        qkv = torch.einsum("oc,ncp->nop", weight[:, :, 0], norm(f"{name}.norm", h).flatten(2)) + bias[None, :, None]
        mixed = []
        for k in range(count):
            if by_head:
                rows = [slice((3 * k + j) * d, (3 * k + j + 1) * d) for j in range(3)]
            else:
                rows = [slice(j * width + k * d, j * width + (k + 1) * d) for j in range(3)]
            q, key, v = (qkv[:, r] for r in rows)
            share = (torch.einsum("ndp,ndq->npq", q, key) / math.sqrt(d)).softmax(2)
            mixed.append(torch.einsum("npq,ndq->ndp", share, v))
        weight, bias = layer(f"{name}.proj_out")
        out = torch.einsum("oc,ncp->nop", weight[:, :, 0], torch.cat(mixed, 1)) + bias[None, :, None]
        return h + out.reshape(n, width, *side)

    def entry(name, h, emb, resize):
        """All layers of one entry of a list of lists, in order; `resize` is for a block that changes the resolution."""
        layers = sorted({int(key[len(name) + 1 :].split(".")[0]) for key in tensors if key.startswith(f"{name}.")})
        for i in layers:
            place = f"{name}.{i}"
            if f"{place}.op.weight" in tensors:
                h = F.conv2d(h, *layer(f"{place}.op"), stride=2, padding=1)
            elif f"{place}.conv.weight" in tensors:
                h = F.conv2d(double(h), *layer(f"{place}.conv"), padding=1)
            elif f"{place}.qkv.weight" in tensors:
                h = attend(place, h)
            else:
                h = block(place, h, emb, resize if i or resize is halve else keep)
        return h

    def count(name):
        return 1 + max(int(key.split(".")[1]) for key in tensors if key.startswith(name))

    channels = tensors["time_embed.0.weight"].shape[1]
    frequency = torch.tensor([10_000.0 ** (-k / (channels // 2)) for k in range(channels // 2)], dtype=torch.float64)
    angle = (index * frequency)[None].expand(len(x), -1)
    emb = F.linear(torch.cat([angle.cos(), angle.sin()], 1).float(), *layer("time_embed.0"))
    emb = F.linear(F.silu(emb), *layer("time_embed.2"))
    if labels is not None:
        emb = emb + tensors["label_emb.weight"][labels]
    h = F.conv2d(x, *layer("input_blocks.0.0"), padding=1)
    blocks = count("output_blocks") // (1 + sum(1 for key in tensors if is_up(key))) - 1
    kept = [h]
    for n in range(1, count("input_blocks")):
        h = entry(f"input_blocks.{n}", h, emb, halve if n % (blocks + 1) == 0 else keep)
        kept.append(h)
    h = block("middle_block.0", h, emb, keep)
    h = block("middle_block.2", attend("middle_block.1", h), emb, keep)
    for n in range(count("output_blocks")):
        h = entry(f"output_blocks.{n}", torch.cat([h, kept.pop()], 1), emb, double)
    return F.conv2d(F.silu(norm("out.0", h)), *layer("out.2"), padding=1)


def is_up(key):
    """Whether this tensor is the first of what doubles the resolution."""
    place = key.split(".")
    return place[0] == "output_blocks" and int(place[2]) > 0 and key.endswith(("conv.weight", "in_layers.0.weight"))


def keep(h):
    return h


def halve(h):
    return F.avg_pool2d(h, 2)


def double(h):
    return h.repeat_interleave(2, 2).repeat_interleave(2, 3)
