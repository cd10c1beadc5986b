import sys

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from sfumato.errors import InputError
from sfumato.evaluation.extractors.onnx import onnx_extractor
from sfumato.evaluation.extractors.preprocessing import IMAGENET, Preprocessing
from sfumato.files import sha256_of

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (5, 20, 9, 3), dtype=np.uint8)
WEIGHT = RNG.normal(size=(5, 3, 4, 4)).astype(np.float32)


def write(path, nodes=None, shape=("N", 3, 8, 12), outputs=("y",), entering=TensorProto.FLOAT, **how):
    """A convolution, which leaves 5x2x3 numbers of 8x12 pixels, and a ReLU; or other nodes."""
    usual = [
        helper.make_node("Conv", ["x", "w"], ["before"], strides=[4, 4]),
        helper.make_node("Relu", ["before"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes or usual,
        "network",
        [helper.make_tensor_value_info("x", entering, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path, **how)
    return path


def expected(mean, std):
    x = Preprocessing((8, 12), mean, std)(torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float())
    return F.conv2d(x, torch.from_numpy(WEIGHT), stride=4).flatten(1).numpy()


def test_what_the_network_makes_flattened(tmp_path):
    file = write(tmp_path / "mine.onnx")
    extractor = onnx_extractor(file)
    found = extractor.features(PICTURES)
    assert (extractor.width, found.dtype) == (30, np.float32)
    np.testing.assert_allclose(found, expected(*IMAGENET).clip(0), rtol=1e-4, atol=1e-4)
    assert (extractor.name, extractor.sha256) == ("ONNX-mine", sha256_of(file))
    assert extractor.preprocessing == str(Preprocessing((8, 12), *IMAGENET))


def test_one_picture_at_a_time(tmp_path):
    found = onnx_extractor(write(tmp_path / "mine.onnx", shape=(1, 3, 8, 12))).features(PICTURES)
    np.testing.assert_allclose(found, expected(*IMAGENET).clip(0), rtol=1e-4, atol=1e-4)


def test_another_range_and_another_output(tmp_path):
    half = (0.5, 0.5, 0.5)
    file = write(tmp_path / "mine.onnx", outputs=("y", "before"))
    extractor = onnx_extractor(file, mean=half, std=half, output="before")
    np.testing.assert_allclose(extractor.features(PICTURES), expected(half, half), rtol=1e-4, atol=1e-4)
    assert extractor.key != onnx_extractor(file, mean=half, std=half, output="y").key
    assert extractor.key != onnx_extractor(file, output="before").key
    with pytest.raises(InputError, match=r"has the outputs y, before: choose one"):
        onnx_extractor(file)
    with pytest.raises(InputError, match="has no output 'z'; it has y, before"):
        onnx_extractor(file, output="z")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"shape": ("N", 3, "h", "w")}, "with height and width in numbers: export it for one size"),
        ({"shape": ("N", 3, None, 12)}, "with height and width in numbers"),
        ({"shape": (4, 3, 8, 12)}, "with N a name or 1: export it with a dynamic batch"),
        ({"shape": ("N", 8, 12, 3)}, r"takes x: tensor\(float\) \['N', 8, 12, 3\]; wanted is one input"),
        ({"shape": ("N", 3, 0, 12)}, "need a size"),
        ({"shape": None}, "wanted is one input of pictures"),
        ({"shape": ("N", 3, 3, 3)}, "is no network that can be run"),
        (
            {"nodes": [helper.make_node("Identity", ["x"], ["y"])], "shape": ("N", 96)},
            "wanted is one input of pictures",
        ),
        ({"nodes": [helper.make_node("ReduceMean", ["x"], ["y"], axes=[0])]}, "not a row of each"),
        ({"nodes": [helper.make_node("RandomNormalLike", ["x"], ["y"])]}, "or makes them by chance"),
        ({"nodes": [helper.make_node("Log", ["x"], ["y"])]}, "hold NaN or infinity"),
    ],
)
def test_networks_that_do_not_fit(tmp_path, how, message):
    with pytest.raises(InputError, match=message):
        onnx_extractor(write(tmp_path / "mine.onnx", **how))


def test_pictures_in_bytes(tmp_path):
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    with pytest.raises(InputError, match=r"takes x: tensor\(uint8\)"):
        onnx_extractor(write(tmp_path / "mine.onnx", [cast], entering=TensorProto.UINT8))


def test_files_that_hold_no_network(tmp_path):
    for missing in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            onnx_extractor(missing)
    file = write(tmp_path / "mine.onnx")
    whole = file.read_bytes()
    for content in (b"", b"x" * 1000, whole[:200], whole + b"\0" * 50):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"mine\.onnx is no network that can be run"):
            onnx_extractor(file)


def test_weights_in_other_files_are_not_read(tmp_path, monkeypatch):
    """They would be no part of the checksum, not even where they lie in the current folder."""
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "mine.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").is_file()
    with pytest.raises(InputError, match="is no network that can be run, with all its weights inside"):
        onnx_extractor(file)


def test_devices(tmp_path):
    file = write(tmp_path / "mine.onnx")
    with pytest.raises(InputError, match="onnxruntime cannot use the GPU here"):
        onnx_extractor(file, device="cuda:0")
    with pytest.raises(InputError, match="works on cpu or cuda, not on 'mps'"):
        onnx_extractor(file, device="mps")


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'sfumato\[onnx\]'"):
        onnx_extractor(write(tmp_path / "mine.onnx"))
