"""What a GPU would have to wait for, seen without one: on the device of shapes, where a look at the host shows."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import factory
from sfumato.networks.condition import Condition
from sfumato.solvers import registry
from sfumato.solvers.loop import steps


class Host(TorchDispatchMode):
    """Notes the operations that take something from main memory to the device."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        given, made = (
            {value.device.type for value in tree_leaves(values) if isinstance(value, torch.Tensor)}
            for values in ((args, kwargs), output)
        )
        if "cpu" in given and "meta" in made:
            self.seen.append(str(func))
        return output


@pytest.mark.parametrize("text", [False, True])
def test_a_step_of_sampling_waits_for_nothing(text):
    """The network, the denoised picture and the solver's sums: all on the device. `item` would raise there."""
    model = factory.text_model() if text else factory.model()
    network = model.network.to("meta")
    labels = None if text else torch.zeros(2, 2, dtype=torch.int64, device="meta")
    words = torch.zeros(2, 6, dtype=torch.int64, device="meta") if text else None
    condition = Condition(labels=labels, words=words)
    diffusion, table = model.diffusion, registry.get("unipc-2", model.diffusion.schedule, 5)

    def denoise(x, t):
        return diffusion.denoised(network(diffusion.network_input(x, t), diffusion.network_time(t), condition), x, t)

    x = torch.zeros(2, 3, 8, 8, device="meta")
    walk = steps(denoise, x, table)
    next(walk)  # the first also makes ready what stays
    with Host() as host:
        for _ in range(table.calls - 1):
            next(walk)
    assert host.seen == []


def test_a_copy_from_main_memory_would_show():
    with Host() as host:
        torch.as_tensor(0.5).to("meta")
    assert host.seen
