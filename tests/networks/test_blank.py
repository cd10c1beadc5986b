import subprocess
import sys

import torch

from sfumato.networks.blank import blank
from sfumato.networks.config import UNetConfig
from sfumato.networks.unet import UNet

CONFIG = UNetConfig(channels=32, multipliers=(1, 2), attention_levels=(1,), groups=8, labels=(3,))


def test_a_blank_network_has_all_shapes_and_no_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with blank():
        network = UNet(CONFIG)
    assert torch.equal(torch.get_rng_state(), before)
    assert {value.device.type for value in network.state_dict().values()} == {"meta"}
    shapes = [{name: value.shape for name, value in made.state_dict().items()} for made in (network, UNet(CONFIG))]
    assert shapes[0] == shapes[1]


def test_a_first_picture_does_not_import_the_compiler():
    """It takes seconds, most of all that the first picture would then take."""
    code = "import sys, sfumato; sfumato.load('emoji').sample(1, steps=4); print('torch._dynamo' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
