"""Drawings are well-formed and within their frame."""

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from appliance.bench.plot import PANEL_HEIGHT, WIDTH, Panel, ceiling, drawing


@given(st.lists(st.floats(0, 1e9), max_size=30), st.text(st.characters(exclude_categories=["C"]), max_size=20))
def test_every_point_lies_in_the_drawing(values: list[float], title: str) -> None:
    text = drawing(title, [Panel(title, {title: values}), Panel("empty", {})])
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    points = re.findall(r"([-\d.]+),([-\d.]+)", "".join(re.findall(r'points="([^"]*)"', text)).replace(" ", "  "))
    assert len(points) == len(values)
    assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= 3 * PANEL_HEIGHT for x, y in points)


@given(st.floats(1e-6, 1e12))
def test_an_axis_ends_at_a_round_number_not_far_above(value: float) -> None:
    end = ceiling(value)
    assert value <= end <= value * 2.51
    assert f"{end:e}"[0] in "125"


def test_an_axis_of_nothing_ends_at_1() -> None:
    assert ceiling(0) == 1
