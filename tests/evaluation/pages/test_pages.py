import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from measuring import dataset, extractor, saved
from reports import REPORT
from sfumato.evaluation.compare import Compared, Side, compare
from sfumato.evaluation.evaluate import Evaluation, evaluate
from sfumato.evaluation.pages.comparison import comparison_page
from sfumato.evaluation.pages.evaluation import evaluation_page
from sfumato.evaluation.pages.markup import sheet
from sfumato.evaluation.real import Real
from sfumato.generation.request import Request

HOSTILE = "<script>alert(1)</script>\" onerror='x' & <img src=http://example.com/x.png>"
VOID = {"meta", "img", "line", "circle", "polyline", "polygon", "i", "link", "br"}
TOY = extractor()


class Page(HTMLParser):
    """Tags, attributes and text of a page; asserts that what is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def is_inert(page):
    """Nothing runs, nothing is loaded."""
    assert not {"script", "iframe", "object", "embed", "link", "form", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("href", "srcset", "action", "style"), (tag, name)
        if name == "src":
            assert value.startswith("data:image/png;base64,")
    policy = [value for tag, name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFUMATO_CACHE", str(folder / "cache"))
        data = replace(dataset(name=HOSTILE), labels=np.zeros((60, 2), np.int64))
        model = saved(folder / "m", data, name=HOSTILE)
        real = Real(data, True, data, dataset(30, "kept", 4), (f"Note {HOSTILE}",))
        evaluation = evaluate(model, real, TOY, folder / "e", request=Request(3), n=24, curve=(2, 3), draws=40)
        one, other = Side(model, Request(3)), Side(model, Request(2))
        yield evaluation, compare(one, other, real, TOY, folder / "c", n=24, draws=40)


def test_the_page_of_an_evaluation(found):
    evaluation: Evaluation = found[0]
    page = Page(evaluation_page(evaluation))
    is_inert(page)
    making, method = evaluation.report.method.making, evaluation.report.method
    for fact in (
        "FD-Toy",
        "Precision",
        "Memorisation",
        "Denoising by time",
        "FD-Toy by steps",
        "How it was measured",
        making.weights_sha256,
        making.table_sha256,
        method.reference.fingerprint,
        method.reference.sha256,
        TOY.sha256,
        TOY.preprocessing,
        "seeds 0…23",
        "unipc-2, 3 steps, 3 network calls",
        "40 draws",
        HOSTILE,
    ):
        assert fact in page.text, fact
    assert page.text.count(f"Note {HOSTILE}") == 1
    images = [value for _, name, value in page.attributes if name == "src"]
    assert len(images) == 2 + 2 * 12 + 2  # samples and real; pairs in pixels and in features; most and least usual
    assert all(alt for tag, name, alt in page.attributes if tag == "img" and name == "alt")


def test_the_page_of_a_comparison(found):
    compared: Compared = found[1]
    page = Page(comparison_page(compared))
    is_inert(page)
    for fact in ("What differs", "A less B", "steps", HOSTILE, compared.comparison.differences[0].verdict):
        assert fact in page.text, fact
    assert len([1 for _, name, _ in page.attributes if name == "src"]) == 2


def test_parts_that_were_not_asked_for_are_not_there(found):
    evaluation: Evaluation = found[0]
    numbers = tuple(replace(number, real=None) for number in evaluation.report.numbers)
    bare = replace(evaluation, report=replace(REPORT, numbers=numbers, curve=(), memorisation=None, likelihood=None))
    page = Page(evaluation_page(replace(bare, looked=())))
    for part in ("by steps", "Memorisation", "Denoising", "Likelihood"):
        assert part not in page.text
    told = Page(evaluation_page(replace(bare, report=replace(bare.report, likelihood=REPORT.likelihood))))
    assert "3.5000 ± 0.1000" in told.text


def decoded(markup):
    found = re.search(r'src="data:image/png;base64,([^"]+)"', markup)
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found[1])))


def test_a_sheet_holds_the_pictures_and_says_who_made_them():
    pictures = dataset(5).images
    image = decoded(sheet(pictures, "five", columns=3, generated=True))
    array = np.asarray(image)
    assert array.shape == (2 * 9 + 1, 3 * 9 + 1, 3)
    assert np.array_equal(array[10:18, 10:18], pictures[4])
    assert image.info["Comment"] == "Generated by an AI model"
    assert "Comment" not in decoded(sheet(pictures, "five")).info
    assert 'class="pixels"' in sheet(pictures, "five")


def test_large_and_grey_pictures_fit_on_a_sheet():
    large = decoded(sheet(np.zeros((1, 300, 600, 3), np.uint8), "one"))
    assert large.size == (128 + 2, 64 + 2)
    assert decoded(sheet(dataset(4).images[..., :1], "grey")).mode == "L"
