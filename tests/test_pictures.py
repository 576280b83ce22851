"""Pictures: labels stay what they are, nothing of the reader's machine gets in, bytes repeat."""

from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.report.charts import histogram, line_chart
from llmsynthor.report.curve import Curve, Line
from llmsynthor.report.formats import label
from llmsynthor.report.maps import target_and_synthetic
from llmsynthor.report.pictures import Pictures


def maps_of(names: list[str]) -> list[str]:
    pictures = Pictures()
    cells = np.arange(float(len(names) ** 2)).reshape(len(names), len(names))
    with pictures.drawing():
        maps = target_and_synthetic(pictures, cells, cells.T, (names, names), "table")
    return [str(svg) for _, svg in maps]


def texts_of(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


@given(st.text(max_size=12))
@settings(max_examples=25, deadline=None)
def test_any_label_is_drawn_as_it_is(name: str) -> None:
    shown = label(name)
    for svg in maps_of([name, "other"]):
        assert texts_of(svg).count(shown) == (2 if shown != "other" else 4)


@pytest.mark.parametrize(
    "name", ["$x^2$", "\\frac{1}", "<b>&amp;", 'id="x" y', "中文", "style: #010101;"]
)
def test_labels_that_look_like_something_else(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = maps_of([name, "other"])[0]
    assert name in texts_of(svg)


def test_long_labels_are_cut_and_many_are_thinned() -> None:
    names = [f"municipality number {n}" for n in range(200)]
    texts = texts_of(maps_of(names)[0])
    assert all(len(text) <= 17 for text in texts)
    assert 10 < len(texts) < 80


def test_settings_of_the_user_change_nothing_and_stay() -> None:
    plain = maps_of(["a", "b"])
    with mpl.rc_context({"svg.fonttype": "path", "font.size": 30, "lines.linewidth": 9}):
        assert maps_of(["a", "b"]) == plain
        assert mpl.rcParams["font.size"] == 30


def test_equal_tables_have_no_map_of_differences() -> None:
    pictures = Pictures()
    cells = np.ones((2, 2))
    with pictures.drawing():
        maps = target_and_synthetic(pictures, cells, cells, (["a", "b"], ["a", "b"]), "t")
    assert [caption.split(":")[0] for caption, _ in maps] == ["Target", "Synthetic"]


def test_pictures_refer_to_nothing_outside_and_are_small() -> None:
    pictures = Pictures()
    curve = Curve("TVD", "calls", (Line("before", (1, 2), (0.3, 0.1)),), "")
    with pictures.drawing():
        drawn = [
            str(line_chart(pictures, curve)),
            str(histogram(pictures, [3, 1], [0.0, 1.0, 2.0], "errors")),
        ]
    for svg in [*drawn, *maps_of(["a", "b"])]:
        assert len(svg) < 4000
        assert not re.search(r"https?:|xmlns|<style|<metadata|<!DOCTYPE", svg)
        assert 'role="img"' in svg


def test_a_table_of_781_zones_is_one_small_image() -> None:
    pictures = Pictures()
    random = np.random.default_rng(1)
    cells = random.random((781, 20))
    labels = ([f"zone {n}" for n in range(781)], [f"c{n}" for n in range(20)])
    with pictures.drawing():
        maps = target_and_synthetic(pictures, cells, random.random((781, 20)), labels, "zones")
    assert all(str(svg).count("<image") == 1 for _, svg in maps)
    assert sum(len(str(svg)) for _, svg in maps) < 120_000
