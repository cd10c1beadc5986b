import os
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # so that every test can import `exact`

if "PYTEST_XDIST_WORKER" in os.environ:  # as many of these as there are cores
    torch.set_num_threads(1)

settings.register_profile("sfumato", deadline=None, derandomize=True)  # no wall clock, no luck
settings.load_profile("sfumato")


@pytest.fixture(autouse=True)
def _same_start():
    torch.manual_seed(0)
