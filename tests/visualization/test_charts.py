"""Charts show the values they are given, and nothing that was not."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from tlaam.visualization.charts import line_chart, reliability_chart, spread_chart

SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def places(svg: str) -> list[list[tuple[float, float]]]:
    paths = [e.get("d", "") for e in parsed(svg).iter(f"{SVG}path") if "line" in str(e.get("class"))]
    return [[tuple(map(float, p.split())) for p in path[1:].split("L")] for path in paths]  # type: ignore[misc]


def test_lines_go_through_their_points() -> None:
    one, two = places(line_chart({"a": [(1, 0.0), (2, 1.0), (3, 0.5)], "b": [(1, 1.0), (3, 0.0)]}, x="x", y="y"))
    (x0, low), (x1, high), (x2, middle) = one
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert low > high  # SVG counts downwards
    assert middle == pytest.approx((low + high) / 2, abs=0.11)
    assert two == [(x0, high), (x2, low)]


def test_what_is_not_finite_leaves_a_gap() -> None:
    runs = places(line_chart({"a": [(1, 0.1), (2, 0.2), (3, math.nan), (4, 0.4), (5, 0.5)]}, x="x", y="y"))
    assert [len(run) for run in runs] == [2, 2]


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(3, 0.0)]}, {"a": [(1, math.inf)]}, {"a": [(1, 2e-9)]}])
def test_little_or_nothing_to_draw_is_still_a_chart(series: dict[str, list[tuple[float, float]]]) -> None:
    svg = line_chart(series, x="x", y="y", share=False)
    assert parsed(svg).tag == f"{SVG}svg"
    assert "nan" not in svg and "inf" not in svg


def test_shares_have_an_axis_up_to_all() -> None:
    texts = [e.text for e in parsed(line_chart({"a": [(1, 0.2), (8, 0.3)]}, x="epoch", y="right", share=True)).iter()]
    assert {"0\N{NO-BREAK SPACE}%", "100\N{NO-BREAK SPACE}%", "epoch", "right", "a"} <= set(texts)


def test_text_is_escaped() -> None:
    evil = '<script>&"'
    assert "<script>" not in line_chart({evil: [(1, 1)]}, x=evil, y=evil)
    assert evil in [e.text for e in parsed(line_chart({evil: [(1, 1)]}, x=evil, y=evil)).iter()]


def test_bins_lie_where_they_should_and_grow_with_their_images() -> None:
    svg = reliability_chart([(0.25, 0.0, 1), (0.5, 0.5, 4), (0.75, 1.0, 16)])
    (ideal,) = places(svg)
    dots = [[float(e.get(name, "")) for name in ("cx", "cy", "r")] for e in parsed(svg).iter(f"{SVG}circle")]
    (left, bottom), (right, top) = ideal
    across = [left + share * (right - left) for share in (0.25, 0.5, 0.75)]
    assert [dot[0] for dot in dots] == pytest.approx(across, abs=0.11)
    assert [dot[1] for dot in dots] == pytest.approx([bottom, (bottom + top) / 2, top], abs=0.11)
    assert dots[0][2] < dots[1][2] < dots[2][2]


ROWS = [
    ("plain", {"top-1": (0.5, None)}),
    ("a <very> long name, " * 4, {"top-1": (0.75, 0.05), "boxes": (0.6, 0.2)}),
]


def test_dots_and_bars_lie_at_their_shares_and_the_axis_is_around_them() -> None:
    svg = parsed(spread_chart(ROWS, ["top-1", "boxes"]))
    assert [e.text for e in svg.iter(f"{SVG}text") if str(e.text).endswith("%")] == [
        f"{tick}\N{NO-BREAK SPACE}%" for tick in (40, 50, 60, 70, 80) for _ in range(2)
    ]
    dots = [e.get("cx") for e in svg.iter(f"{SVG}circle")][2:]
    assert dots == ["27.50%", "83.75%", "50.00%"]  # the axis goes from 5 % (0.4) to 95 % (0.8)
    bars = [(e.get("x1"), e.get("x2")) for e in svg.iter(f"{SVG}line") if e.get("class") == "line"]
    assert bars == [("27.50%", "27.50%"), ("72.50%", "95.00%"), ("5.00%", "95.00%")]
    names = [str(e.text) for e in svg.iter(f"{SVG}text") if e.get("class") == "name"]
    assert names[0] == "plain" and len(names) == 3 and max(map(len, names)) <= 54, "long names go on in a line below"
    places = [float(e.get("y1", "")) for e in svg.iter(f"{SVG}line") if e.get("class") == "line"]
    assert places == sorted(set(places)) and f"height: {places[-1] + 36:.0f}px" in svg.get("style", "")


def test_a_chart_of_nothing_has_axes_and_no_rows() -> None:
    svg = parsed(spread_chart([], ["top-1"]))
    assert "top-1" in [e.text for e in svg.iter(f"{SVG}text")]
    assert [e for e in svg.iter() if e.get("class") in ("line", "name")] == []
    assert len(list(svg.iter(f"{SVG}circle"))) == 1, "the legend's"


def test_a_share_of_all_ends_with_the_axis_and_its_bar_does_not_pass_it() -> None:
    svg = parsed(spread_chart([("a", {"top-1": (1.0, 0.1)})], ["top-1"]))
    assert [e.text for e in svg.iter(f"{SVG}text") if str(e.text).endswith("%")][-1] == "100\N{NO-BREAK SPACE}%"
    _, dot = svg.iter(f"{SVG}circle")
    (bar,) = (e for e in svg.iter(f"{SVG}line") if e.get("class") == "line")
    assert dot.get("cx") == bar.get("x2") == "95.00%" and float(bar.get("x1", "").rstrip("%")) < 95


def test_a_chart_that_stands_alone_brings_its_size_and_colours() -> None:
    alone = ElementTree.fromstring(spread_chart(ROWS, ["top-1", "boxes"], alone=640))
    assert alone.get("viewBox", "").startswith("0 0 640 ") and "--ink: #" in str(alone.find(f"{SVG}style").text)  # type: ignore[union-attr]
