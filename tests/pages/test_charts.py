import xml.etree.ElementTree as ET

import pytest

from sfumato.pages.charts import Line, decades, heat_map, interval_chart, line_chart, short, ticks


def parsed(markup):
    return ET.fromstring(markup)


def points(chart, kind):
    element = next(e for e in chart.iter() if kind in e.get("class", ""))
    return [tuple(map(float, pair.split(","))) for pair in element.attrib["points"].split()]


def test_a_line_goes_through_its_points():
    """Evenly spaced in x, and twice the value is twice as high above the zero line."""
    chart = parsed(line_chart([Line("a", [0, 1, 2], [0.0, 5, 10])], "x", "y", "a line"))
    (x0, y0), (x1, y1), (x2, y2) = points(chart, "line")
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert y0 - y1 == pytest.approx(y1 - y2)
    assert y0 > y1  # upwards is less
    texts = [text.text for text in chart.iter("text")]
    assert {"x", "y", "0", "10"} <= set(texts)


def test_a_logarithmic_axis():
    chart = parsed(
        line_chart([Line("a", [5, 10, 20], [1.0, 1, 1], marked=True)], "steps", "y", "z", log=True, at=[5, 10, 20])
    )
    (x0, _), (x1, _), (x2, _) = points(chart, "line")
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert len(list(chart.iter("circle"))) == 3
    assert {"5", "10", "20"} <= {text.text for text in chart.iter("text")}


def test_a_logarithmic_axis_upwards():
    chart = parsed(line_chart([Line("a", [1, 2, 3], [0.04, 0.4, 4.0])], "x", "y", "z", log_up=True))
    (_, y0), (_, y1), (_, y2) = points(chart, "line")
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert {"0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"} <= {text.text for text in chart.iter("text")}


def test_cells_lie_in_their_places_and_are_as_dark_as_their_values():
    """Two columns of two rows: from below, 1 is opaque, and what is below 0 has another colour."""
    chart = parsed(heat_map([(0, [1.0, -0.5]), (10, [None, 3.0])], "x", "y", "z"))
    low, high, late = list(chart.iter("rect"))
    assert [cell.attrib["class"] for cell in (low, high, late)] == ["cell more", "cell less", "cell more"]
    assert [cell.attrib["fill-opacity"] for cell in (low, high, late)] == ["1.00", "0.50", "1.00"]
    assert float(high.attrib["y"]) + float(high.attrib["height"]) == pytest.approx(float(low.attrib["y"]))
    assert float(low.attrib["x"]) + float(low.attrib["width"]) == pytest.approx(float(late.attrib["x"]), abs=0.11)
    assert late.attrib["width"] == low.attrib["width"]
    parsed(heat_map([(5, [0.0])], "x", "y", "z"))


def test_a_band_lies_around_its_line():
    chart = parsed(line_chart([Line("a", [0, 1], [2.0, 3], [1.0, 2], [3.0, 4])], "x", "y", "z"))
    (_, high0), (_, high1), (_, low1), (_, low0) = points(chart, "band")
    (_, y0), (_, y1) = points(chart, "line")
    assert high0 < y0 < low0
    assert high1 < y1 < low1


def test_intervals_on_a_scale():
    chart = parsed(interval_chart([("one", 2.0, 1.0, 3.0), ("two", 4.0, 4.0, 5.0)], 1.0, 5.0))
    one, two = list(chart.iter("line"))
    assert float(one.attrib["x1"]) == 4
    assert float(two.attrib["x2"]) == 146
    assert float(one.attrib["x2"]) == pytest.approx((4 + 146) / 2)
    parsed(interval_chart([("one", 0.0, 0.0, 0.0)], 0.0, 0.0))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 0.93, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-1, 3, [-1, 0, 1, 2, 3]),
        (411, 448, [410, 420, 430, 440, 450]),
        (0, 0, [0]),
    ],
)
def test_round_numbers(low, high, expected):
    assert ticks(low, high) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.3, 4, [0.2, 0.5, 1, 2, 5]),
        (1, 1, [1]),
        (3, 3, [2, 5]),
        (2e-6, 70, [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100]),
    ],
)
def test_round_numbers_of_a_logarithmic_axis(low, high, expected):
    assert decades(low, high) == expected


def test_short_numbers():
    said = {0: "0", 0.25: "0.25", 1000: "1000", 10_000: "10k", 250_000: "250k", 1_500_000: "1.5M", -2e9: "-2G"}
    assert {value: short(value) for value in said} == said


def test_names_from_outside_are_escaped():
    hostile = '"><script>alert(1)</script>'
    chart = line_chart([Line(hostile, [0, 1], [0.0, 1])], hostile, hostile, hostile)
    assert "<script" not in chart
    assert [e.tag for e in parsed(chart).iter() if e.tag == "script"] == []


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e9, -3.0])
def test_one_point_and_flat_lines_can_be_drawn(value):
    parsed(line_chart([Line("", [3], [value], marked=True)], "x", "y", "z", log=True))
    parsed(line_chart([Line("", [0, 1], [value, value])], "x", "y", "z"))
