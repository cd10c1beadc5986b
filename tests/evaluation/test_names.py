import pytest

from sfumato.errors import InputError
from sfumato.evaluation.names import CLIP, INCEPTION, metric_name


@pytest.mark.parametrize(
    ("measure", "network", "name"),
    [("FD", INCEPTION, "FID"), ("KD", INCEPTION, "KID"), ("MMD", CLIP, "CMMD"), ("ClassifierScore", INCEPTION, "IS")],
)
def test_a_known_name_belongs_to_one_network(measure, network, name):
    assert metric_name(measure, network) == name
    assert metric_name(measure, "EffNetLite0") == f"{measure}-EffNetLite0"


def test_each_on_the_others_network():
    assert metric_name("MMD", INCEPTION) == "MMD-Inception-v3"
    assert metric_name("FD", CLIP) == "FD-CLIP-ViT-L/14@336px"


def test_an_unknown_measure():
    with pytest.raises(InputError, match=r"no measure 'FDD' .* Did you mean 'FD'"):
        metric_name("FDD", INCEPTION)
