import pytest

from factory import network, spec
from sfumato.models.folder import save_folder


@pytest.fixture
def model(tmp_path):
    save_folder(tmp_path / "m", spec(), network(spec()).state_dict(), "average")
    return tmp_path / "m"
