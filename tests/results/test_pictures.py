"""Pictures: labels stay what they are, nothing of the reader's machine gets in, bytes repeat."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.results.report.charts import Curve, Line, histogram, line_chart
from llmsynthor.results.report.formats import label
from llmsynthor.results.report.maps import target_and_synthetic
from llmsynthor.results.report.svg import ticks


def maps_of(names: list[str]) -> list[str]:
    cells = np.arange(float(len(names) ** 2)).reshape(len(names), len(names))
    maps = target_and_synthetic(cells, cells.T, (names, names), "table")
    return [str(svg) for _, svg in maps]


def texts_of(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


@given(st.text(max_size=12))
@settings(max_examples=25)
def test_any_label_is_drawn_as_it_is(name: str) -> None:
    shown = label(name)
    for svg in maps_of([name, "other"]):
        assert texts_of(svg).count(shown) == (2 if shown != "other" else 4)


@pytest.mark.parametrize(
    "name", ["$x^2$", "\\frac{1}", "<b>&amp;", 'id="x" y', "中文", "style: #010101;"]
)
def test_labels_that_look_like_something_else(name: str) -> None:
    svg = maps_of([name, "other"])[0]
    assert name in texts_of(svg)


def test_long_labels_are_cut_and_many_are_thinned() -> None:
    names = [f"municipality number {n}" for n in range(200)]
    texts = texts_of(maps_of(names)[0])
    assert all(len(text) <= 17 for text in texts)
    assert 10 < len(texts) < 80


def test_the_image_holds_the_cells():
    cells = np.array([[0.0, 5.0, 10.0]])
    svg = str(target_and_synthetic(cells, cells, (["a"], ["x", "y", "z"]), "table")[0][1])
    data = base64.b64decode(re.search('base64,([^"]*)', svg)[1])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at = data.index(b"IDAT")
    (size,) = struct.unpack(">I", data[at - 4 : at])
    pixels = np.frombuffer(zlib.decompress(data[at + 4 : at + 4 + size]), np.uint8)
    assert struct.unpack(">2I", data[16:24]) == (3, 1)
    assert pixels[0] == 0
    assert pixels[1:].reshape(3, 4)[:, 3].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("low", "high", "most", "whole", "expected"),
    [
        (0, 100, 3, False, [0, 40, 80]),
        (0, 0.18, 3, False, [0, 0.06, 0.12, 0.18]),
        (-1, 1, 5, False, [-0.8, -0.4, 0, 0.4, 0.8]),
        (1, 6, 5, True, [1, 2, 3, 4, 5, 6]),
        (0, 2, 5, True, [0, 1, 2]),
        (3, 3, 5, True, [3]),
    ],
)
def test_ticks_are_round(low, high, most, whole, expected):
    assert ticks(low, high, most, whole=whole) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e6), st.integers(1, 6), st.booleans())
def test_ticks_lie_within_and_are_few(low, span, most, whole):
    found = ticks(low, low + span, most, whole=whole)
    assert len(found) <= most + 1
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in found)
    assert not whole or all(tick == round(tick) for tick in found)


def test_equal_tables_have_no_map_of_differences() -> None:
    cells = np.ones((2, 2))
    maps = target_and_synthetic(cells, cells, (["a", "b"], ["a", "b"]), "t")
    assert [caption.split(":")[0] for caption, _ in maps] == ["Target", "Synthetic"]


def test_pictures_refer_to_nothing_outside_and_are_small() -> None:
    curve = Curve("TVD", "calls", (Line("before", (1, 2), (0.3, 0.1)),), "")
    drawn = [str(line_chart(curve)), str(histogram([3, 1], [0.0, 1.0, 2.0], "errors"))]
    for svg in [*drawn, *maps_of(["a", "b"])]:
        assert len(svg) < 4000
        assert not re.search(r"https?:|xmlns|<style|<metadata|<!DOCTYPE", svg)
        assert 'role="img"' in svg


def test_a_table_of_781_zones_is_one_small_image() -> None:
    random = np.random.default_rng(1)
    cells = random.random((781, 20))
    labels = ([f"zone {n}" for n in range(781)], [f"c{n}" for n in range(20)])
    maps = target_and_synthetic(cells, random.random((781, 20)), labels, "zones")
    assert all(str(svg).count("<image") == 1 for _, svg in maps)
    assert sum(len(str(svg)) for _, svg in maps) < 120_000
