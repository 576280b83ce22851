"""The page `report.html`: whole, escaped, readable, small, and honest about what is unknown."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from llmsynthor.candidates.proposals import ProposalLine, read_proposal_line
from llmsynthor.results.report.page import render_page
from llmsynthor.results.report.tables import PICTURED, TableView
from llmsynthor.store.lines import Iteration

HOSTILE = (
    "<script>alert(1)</script>",
    "{{ 7*7 }}",
    '"><img src=x>',
    "' onload='alert(1)",
    "</style>",
)
VOID = {"meta", "wbr"}
INLINE = {"a", "b", "code", "span", "strong", "wbr"}
MINUS = "\N{MINUS SIGN}"


class Outline(HTMLParser):
    """The elements, attributes and text of a page; fails where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in INLINE:
            self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def make_view(
    name: str = "mode", role: str = "control", shape: tuple[int, ...] = (3,)
) -> TableView:
    target = np.arange(float(np.prod(shape))).reshape(shape) * 10
    labels = tuple(
        tuple(f"label {axis}.{code}" for code in range(n)) for axis, n in enumerate(shape)
    )
    scope = tuple(f"variable {axis}" for axis in range(len(shape)))
    return TableView(name, role, scope, labels, target, target[..., ::-1])


def make_row(view: TableView, **changes: Any) -> dict[str, Any]:
    control = view.role == "control"
    return {
        "name": view.name,
        "role": view.role,
        "scope": list(view.scope),
        "cells": view.target.size,
        "tvd": 0.0012,
        "srmse": 0.004,
        "tae": 24.0,
        "max_abs_share": 0.0007,
        "noise_floor_tvd": 0.006,
        "tolerance": 0.002 if control else None,
        "pass": True if control else None,
        "baseline": {"independent": 0.11, "maxent": 0.05},
        "prior_tvd": 0.08,
        **changes,
    }


def make_report(rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "status": "complete",
        "stop_reason": "the prior stopped improving",
        "records": {"asked": 30000, "made": 30000},
        "pass": all(row["pass"] is not False for row in rows),
        "tables": rows,
        "rules": [{"name": "no driving children", "expression": "age < 15", "violations": 0}],
        "llm": {
            "model": "openai/gpt-4.1-nano",
            "calls": 36,
            "failed_calls": 1,
            "prompt_tokens": 148220,
            "completion_tokens": 61034,
            "cost_usd": 0.0392,
            "proposals": {"accepted": 30, "rejected": 10},
            "rejection_rate": 0.25,
            "unread_replies": 2,
            "parse_failure_rate": 2 / 36,
            "repair_calls": 1,
            "mended": 7,
            "structured": "json",
        },
        "calibration": {
            "kl": 0.18,
            "effective_sample_size": 88213.2,
            "max_copies": 4,
            "mutants": 9,
            "background_share": 0.083,
            "candidates": 240000,
            "converged": True,
        },
        "seconds": {"asking": 141.2, "calibrating": 22.7, "writing": 3.1, "total": 4000.0},
        "inputs": {"tables/mode.csv": "a3f1" * 16},
        "name": "us-trips",
        "description": "Trips on one day.",
        "version_llmsynthor": "0.1.0",
        "created": "2026-11-23T13:28:22+00:00",
        "dependencies": [
            {"variables": ["mode", "purpose"], "how": "inside", "table": "mode_purpose_age"},
            {"variables": ["age", "sex"], "how": "none", "table": None},
        ],
        "uncovered_pairs": 50,
        "association": [
            make_pair("mode", "purpose", 0.5),
            make_pair("mode", "age", 0.25, None),
            make_pair("purpose", "age", None, None),
        ],
        "ordered": [make_ordered()],
        "zones": [],
        "copies": {
            "distinct": 21000,
            "distinct_share": 0.7,
            "records_with_a_twin": 12000,
            "most_alike": 9,
        },
        "attempts": [
            {
                "start": "2026-11-23T13:00:00+00:00",
                "end": "2026-11-23T13:28:22+00:00",
                "reason": "all iterations done",
                "versions": {"python": "3.11.7", "polars": "2.1.0"},
                "git": {"commit": "0123456789abcdef"},
            }
        ],
        "summary": {
            "control_tvd_max": 0.0012,
            "control_tvd_mean": 0.0011,
            "validate_tvd_mean": 0.0231,
            "validate_maxent_mean": 0.0512,
            "validate_ratio": 0.45,
        },
        "seed": 7,
        "notes": ["A table was scaled."],
        "job_fingerprint": "5e0c7c1d9a4f",
        **changes,
    }


def make_pair(
    first: str, second: str, v: float | None, table: str | None = "pairs"
) -> dict[str, Any]:
    target = {"table": table, "role": "control", "v": v, "v_synthetic": v} if table else None
    return {"variables": [first, second], "v": v, "target": target}


def make_ordered(**changes: Any) -> dict[str, Any]:
    return {
        "variable": "age",
        "table": "age",
        "role": "control",
        "unit": "years",
        "labels": ["<30", "30-59", "60+"],
        "edges": [30.0, 60.0, 91.0],
        "low": 0.0,
        "emd": 0.125,
        "emd_unit": 3.5,
        "cumulative_target": [0.25, 0.75, 1.0],
        "cumulative": [0.25, 0.625, 1.0],
        **changes,
    }


def make_zones(name: str = "zone", control: str = "size=1") -> dict[str, Any]:
    differences = {
        "zones": 40,
        "target": 800.0,
        "synthetic": 804.0,
        "mean_percent": -0.25,
        "sd_percent": 1.5,
        "rmse_percent": 1.25,
    }
    return {
        "variable": name,
        "categories": 40,
        "threshold_percent": 5.0,
        "tables": [
            {
                "table": name,
                "role": "control",
                "cells": differences,
                "controls": [{"control": control, **differences}],
                "error_percent": {
                    "median": 0.5,
                    "p95": 4.0,
                    "max": 12.0,
                    "counts": [38, 2],
                    "edges": [0.0, 6.0, 12.0],
                },
                "beyond": 2,
                "worst": [
                    {"category": name, "target": 25.0, "synthetic": 28.0, "error_percent": 12.0},
                    {"category": "b", "target": 0.0, "synthetic": 1.0, "error_percent": None},
                ],
            }
        ],
    }


def so_far(calls: int, cost_usd: float | None) -> dict[str, Any]:
    return {"calls": calls, "tokens": 100 * calls, "cost_usd": cost_usd}


def make_iteration(number: int, **changes: Any) -> Iteration:
    line = {
        "iteration": number,
        "calls": 4,
        "proposals_accepted": 20,
        "proposals_rejected": 2,
        "library": 20 * number,
        "prior_tvd": 0.2 / number,
        "data_tvd": 0.001,
        "records": 150 * number,
        "cost_usd": 0.25,
        "so_far": so_far(4 * number, 0.25 * number),
        "seconds": 14.2,
        "seconds_asking": 9.0,
        "failed_calls": 0,
        "prompt_tokens": 100,
        "completion_tokens": 100,
        **changes,
    }
    return Iteration.model_validate(line)


def make_proposal(number: int, **changes: Any) -> ProposalLine:
    line = {
        "id": number,
        "iteration": 1,
        "reason": f"reason {number}",
        "count": 50,
        "accepted": True,
        "problem": None,
        "values": {},
        "records": 10 * number,
        **changes,
    }
    return read_proposal_line(line)


@pytest.fixture
def page() -> str:
    views = [
        make_view(),
        make_view("pairs", shape=(3, 4)),
        make_view("held", "validate", (2, 3, 4)),
    ]
    proposals = [make_proposal(n) for n in range(30)]
    proposals += [make_proposal(n, accepted=False, problem=f"problem {n}") for n in range(30, 60)]
    report = make_report([make_row(view) for view in views])
    return render_page(report, views, [make_iteration(1), make_iteration(2)], proposals)


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", Outline(page).text)


def test_has_all_sections_in_order_and_every_link_leads_somewhere(page: str) -> None:
    outline = Outline(page)
    ids = [
        str(attributes["id"])
        for tag, attributes in outline.elements
        if "id" in attributes and tag in ("h2", "div")
    ]
    links = {str(attributes["href"])[1:] for tag, attributes in outline.elements if tag == "a"}
    assert [name for name in ids if not name.startswith("table-")] == [
        "verdict", "scorecard", "control", "held-out", "ordered", "convergence", "dependencies",
        "proposals", "rules", "provenance",
    ]  # fmt: skip
    assert links == set(ids)
    assert len(ids) == len(set(ids))


def test_tables_can_be_read_aloud(page: str) -> None:
    outline = Outline(page)
    assert outline.count("table") == outline.count("caption") > 8
    assert all("scope" in attributes for tag, attributes in outline.elements if tag == "th")


def test_fetches_nothing(page: str) -> None:
    outline = Outline(page)
    assert not re.search(r"https?://|@import|url\((?!#)", page)
    pictures = re.findall(r'href="([^#"][^"]*)"', page)
    assert all(address.startswith("data:image/png;base64,") for address in pictures)
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in outline.elements}
    assert not any("src" in attributes for _, attributes in outline.elements)
    assert "default-src 'none'" in page


def test_hostile_text_stays_text() -> None:
    scope = HOSTILE[:2]
    target = np.ones((5, 5))
    views = [
        TableView(name, role, scope, (HOSTILE, HOSTILE), target, target)
        for name in HOSTILE
        for role in ("control", "validate")
    ]
    hostile = " ".join(HOSTILE)
    report = make_report([make_row(view) for view in views])
    report |= dict.fromkeys(("name", "description", "stop_reason", "job_fingerprint"), hostile)
    report |= {
        "notes": [hostile],
        "ordered": [make_ordered(variable=hostile, labels=HOSTILE[:3], unit=hostile, edges=None)],
        "association": [make_pair(HOSTILE[0], HOSTILE[1], 0.5, hostile)],
        "zones": [make_zones(hostile, hostile)],
        "attempts": [
            {
                "start": hostile,
                "end": None,
                "reason": hostile,
                "versions": {hostile: hostile},
                "git": None,
            }
        ],
        "dependencies": [{"variables": list(HOSTILE), "how": "given", "table": hostile}],
        "inputs": {hostile: hostile},
    }
    report["rules"] = [{"name": hostile, "expression": hostile, "violations": 1}]
    report["llm"]["model"] = hostile
    proposals = [
        make_proposal(1, reason=hostile),
        make_proposal(2, accepted=False, problem=hostile),
    ]
    page = render_page(report, views, [make_iteration(1)], proposals)

    outline = Outline(page)
    assert outline.count("script") == outline.count("style") == 1
    assert outline.count("img") == 0
    assert not any("onload" in attributes for _, attributes in outline.elements)
    for text in HOSTILE:
        assert text in outline.text
    assert "49" not in outline.text


def test_half_a_surrogate_pair_can_be_written() -> None:
    page = render_page(make_report([]), [], [], [make_proposal(1, reason="half \ud83d pair")])
    assert "half ? pair" in page.encode("utf-8").decode("utf-8")


def test_unknown_values_are_said_in_words() -> None:
    views = [make_view(), make_view("held", "validate")]
    nothing = {"baseline": {"independent": None, "maxent": None}, "prior_tvd": None}
    rows = [make_row(view, **nothing, srmse=float("nan"), tolerance=None) for view in views]
    report = make_report(rows, created=None, notes=[], rules=[], dependencies=[])
    report["summary"] |= dict.fromkeys(("validate_maxent_mean", "validate_ratio"))
    report["llm"]["cost_usd"] = None
    report |= {"association": [], "ordered": [], "attempts": []}
    report["calibration"] = dict.fromkeys(report["calibration"])
    iterations = [make_iteration(1), make_iteration(2, cost_usd=None, prior_tvd=None)]
    proposals = [make_proposal(1, reason=""), make_proposal(2, accepted=False)]
    page = render_page(report, views, iterations, proposals)

    assert not re.search(r"\bNone\b|\bnan\b|\binf\b", page)
    text = text_of(page)
    assert "Cost unknown the model\N{RIGHT SINGLE QUOTATION MARK}s price is not known" in text
    assert "there is no maximum-entropy baseline to compare it with" in text
    assert "The job names no rules." in text


def test_run_without_model_iterations_or_held_out_tables() -> None:
    view = make_view()
    report = make_report([make_row(view)], calibration=None)
    report["summary"] |= dict.fromkeys(
        ("validate_tvd_mean", "validate_maxent_mean", "validate_ratio")
    )
    report["llm"] |= {"model": "none", "calls": 0, "cost_usd": None}
    text = text_of(render_page(report, [view], [], []))

    assert "None" not in text.replace("None: ", "")
    assert "No table was held out" in text
    assert "the job names no model, so nobody was asked" in text
    assert "Cost none no model was called" in text
    assert "The records were not calibrated." in text


def test_verdict_names_the_tables_that_miss_worst_first() -> None:
    views = [make_view("near"), make_view("fine"), make_view("far")]
    rows = [
        make_row(views[0], tvd=0.003, **{"pass": False}),
        make_row(views[1]),
        make_row(views[2], tvd=0.03, **{"pass": False}),
    ]
    report = make_report(rows, status="partial", records={"asked": 30000, "made": 1200})
    report["rules"][0]["violations"] = 2
    verdict = (
        text_of(render_page(report, views, [], [])).split("Verdict ")[-1].split("Records made")[0]
    )

    assert verdict.startswith(
        "Fail. 2 of 3 control tables miss their tolerance: "
        "far: TVD 0.0300, tolerance 0.0020 near: TVD 0.0030, tolerance 0.0020 "
        "2 records break the rule “no driving children”. "
        "The run stopped early; this page shows what there is so far. "
        "1,200 of 30,000 records were made. "
    )
    assert "fine" not in verdict


def test_verdict_of_a_pass(page: str) -> None:
    text = text_of(page)
    assert "Pass. All 2 control tables are within tolerance and no record breaks a rule." in text
    assert "On the held-out table the TVD is 0.0231: 0.45 times that of maximum entropy" in text
    assert "Time 1 h 06 min" in text


def test_one_way_table_shows_bars_counts_and_signed_differences() -> None:
    view = TableView(
        "m", "control", ("v",), (("a", "b"),), np.array([3.0, 1.0]), np.array([2.0, 2.0])
    )
    page = render_page(make_report([make_row(view)]), [view], [], [])
    assert "--target:100.0%;--share:66.7%" in page
    assert f" a 75.00 50.00 {MINUS}25.00 3 2 {MINUS}1 " in text_of(page)
    assert " b 25.00 50.00 +25.00 1 2 +1 " in text_of(page)


def test_two_way_table_is_longer_than_wide_and_outlines_its_largest_difference() -> None:
    target = np.array([[4.0, 0.0, 2.0], [2.0, 0.0, 2.0]])
    synthetic = np.array([[4.0, 0.0, 1.0], [3.0, 0.0, 2.0]])
    view = TableView(
        "m", "control", ("wide", "tall"), (("a", "b"), ("c", "d", "e")), target, synthetic
    )
    page = render_page(make_report([make_row(view)]), [view], [], [])
    rows = (
        "wide tall a b c 40.00 0.00 30.00 +10.00 d 0.00 0.00 0.00 0.00 "
        f"e 10.00 {MINUS}10.00 20.00 0.00"
    )
    assert rows in text_of(page)
    assert page.count('class="worst"') == 1
    captions = re.findall(r"<figcaption>(\w+):", page)
    assert captions == ["Target", "Synthetic", "Difference"]
    assert " e a 20.00 10.00" in text_of(page).split("Differences are synthetic minus target.")[1]


@pytest.mark.parametrize("shape", [(401,), (41, 10), (5, 5, 5)])
def test_large_and_many_way_tables_show_their_worst_cells(shape: tuple[int, ...]) -> None:
    view = make_view("big", shape=shape)
    page = render_page(make_report([make_row(view)]), [view], [], [])
    assert page.count('class="pair"') == 20
    assert f"The 20 of {view.target.size} cells with the largest difference" in page


def test_tables_without_records_have_shares_of_zero() -> None:
    for shape in ((2,), (2, 2), (2, 2, 2), (0,)):
        view = TableView("m", "control", ("v",) * len(shape), (("a", "b")[: shape[0]],) * len(shape),
                         np.zeros(shape), np.zeros(shape))  # fmt: skip
        page = render_page(make_report([make_row(view)]), [view], [], [])
        assert not re.search(r"\bnan\b|nan%", page)


def test_proposals_that_made_most_come_first_and_rejected_ones_say_why(page: str) -> None:
    text = text_of(page)
    assert "The 25 of 30 accepted proposals that made most records" in text
    assert text.index("reason 29 ") < text.index("reason 28 ") < text.index("reason 5 ")
    assert "reason 4 " not in text
    assert "The first 25 of 30 rejected proposals" in text
    assert "problem 54" in text
    assert "problem 55" not in text


def test_convergence_adds_up_the_cost(page: str) -> None:
    assert "$0.2500 $0.5000" in text_of(page)


def curves_of(page: str) -> list[tuple[str, str]]:
    """Return title and description of each line chart of the iterations."""
    part = page.split('<h2 id="convergence">')[1].split("</section>")[0]
    return re.findall(r'<figcaption>(.*?)</figcaption><svg [^>]*aria-label="(.*?)"', part)


def test_curves_show_what_the_calls_brought() -> None:
    effort = [(0.4, 0.5, 0.6), (0.2, 0.8, 0.1), (0.1, 0.9, 0.05)]
    keys = ("kl", "effective_share", "background_share")
    iterations = [
        make_iteration(n, so_far=so_far(calls, 0.25 * n), **dict(zip(keys, figures, strict=True)))
        for n, calls, figures in zip((1, 2, 3), (4, 8, 16), effort, strict=True)
    ]
    view = make_view()
    page = render_page(make_report([make_row(view)]), [view], iterations, [])
    charts = dict(curves_of(page))
    assert list(charts) == [
        "Mean TVD before and after calibration, by iteration",
        "Mean TVD before and after calibration, by US dollars",
        "KL divergence, by iteration",
        "Effective sample, by iteration",
        "Background, by iteration",
    ]
    assert charts["Mean TVD before and after calibration, by US dollars"].endswith(
        ": before 0.2000 at $0.25, 0.0667 at $0.75; after 0.0010 at $0.25, 0.0010 at $0.75"
    )
    assert charts["KL divergence, by iteration"].endswith(
        "0.4000 at iteration 1, 0.1000 at iteration 3"
    )
    assert "Asking ended: the prior stopped improving." in text_of(page)
    assert " 0.400 50.0 60.0 4 " in text_of(page)


def test_one_iteration_makes_no_curve_and_unknown_prices_are_shown_by_calls() -> None:
    view = make_view()
    report = make_report([make_row(view)])
    assert curves_of(render_page(report, [view], [make_iteration(1)], [])) == []
    two = [
        make_iteration(1, cost_usd=None, so_far=so_far(4, None)),
        make_iteration(2, so_far=so_far(8, None)),
    ]
    charts = curves_of(render_page(report, [view], two, []))
    assert [title for title, _ in charts] == [
        "Mean TVD before and after calibration, by iteration",
        "Mean TVD before and after calibration, by calls",
    ]
    assert "0.1000 at 8 calls" in charts[1][1]


def test_ordered_variables_are_drawn_farthest_first_with_their_distances() -> None:
    near = make_ordered(variable="near", emd=0.001, emd_unit=None, edges=None, unit="")
    page = render_page(make_report([], ordered=[near, make_ordered()]), [], [], [])
    part = text_of(page).split("Ordered variables Share")[1].split("Convergence")[0]
    assert " age age 3 0.1250 3.5000 years 12.50 near age 3 0.0010 \N{EN DASH} " in part
    assert part.index("age") < part.index("near")


def test_pairs_stand_beside_their_tables_strongest_first(page: str) -> None:
    part = text_of(page).split("All 3 pairs, strongest first.")[1].split("Proposals")[0]
    assert (
        "mode \N{MULTIPLICATION SIGN} purpose 0.500 0.500 pairs mode \N{MULTIPLICATION SIGN} age 0.250 \N{EN DASH} none"
        in part
    )
    assert "purpose \N{MULTIPLICATION SIGN} age \N{EN DASH} \N{EN DASH} none" in part


def test_a_pair_in_coarser_bins_shows_what_the_records_have_there() -> None:
    pair = make_pair("a", "b", 0.5)
    pair["target"] |= {"v": 0.75, "v_synthetic": 0.625}
    text = text_of(render_page(make_report([], association=[pair]), [], [], []))
    assert "a \N{MULTIPLICATION SIGN} b 0.500 0.750 records in its bins: 0.625 pairs" in text


def test_zones_show_errors_as_populationsim_does() -> None:
    page = render_page(make_report([], zones=[make_zones()]), [], [], [])
    text = text_of(page)
    assert '<a href="#zones">' in page
    assert f"size=1 zone 40 800 804 {MINUS}0.25 1.50 1.25" in text
    assert f"zone 0.50 4.00 12.00 2 {MINUS}0.25 1.25" in text
    assert "zone 25 28 12.00 b 0 1 nobody wanted" in text


def test_copies_and_attempts_are_told(page: str) -> None:
    text = text_of(page)
    assert (
        "21,000 records of 30,000 (70.00 %) differ from one another in some variable; 12,000 records "
        "have a twin, and the most common record occurs 9 times." in text
    )
    assert "all iterations done polars 2.1.0, python 3.11.7, commit 0123456789" in text


def test_pictures_have_a_name_and_ids_of_their_own(page: str) -> None:
    outline = Outline(page)
    pictures = [attributes for tag, attributes in outline.elements if tag == "svg"]
    assert len(pictures) > 5
    assert all(a["role"] == "img" and len(str(a["aria-label"])) > 20 for a in pictures)
    ids = [a["id"] for _, a in outline.elements if "id" in a]
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]*)"', page)
    assert set(used) <= set(ids)


def test_pictures_take_their_colours_from_the_page(page: str) -> None:
    for picture in re.findall(r"<svg .*?</svg>", page, re.DOTALL):
        assert not re.search(r"(fill|stroke): ?[^nv]", picture)  # `none` or `var(...)`
        assert "font-family" not in picture
    assert "stroke:var(--accent)" in page


def test_shape_of_a_view_is_checked() -> None:
    with pytest.raises(ValueError, match="table `m`: labels"):
        TableView("m", "control", ("v",), (("a", "b"),), np.zeros(2), np.zeros(3))


def test_a_hundred_tables_stay_small_and_folded_and_the_worst_are_drawn() -> None:
    views = [
        make_view(f"table {n}", "control" if n < 80 else "validate", (10, 10)) for n in range(100)
    ]
    report = make_report([make_row(view, tvd=0.001 + n / 1e5) for n, view in enumerate(views)])
    page = render_page(report, views, [], [])
    assert len(page.encode()) < 5_000_000
    assert page.count("<details open>") == 6
    assert f"Heat maps are drawn for {PICTURED} of 100 tables of two variables" in page
    drawn = set(re.findall(r'aria-label="(table \d+), target', page))
    assert drawn == {f"table {n}" for n in [*range(60, 80), *range(80, 100)]}


def test_the_same_report_gives_the_same_bytes() -> None:
    views = [make_view("b"), make_view("a")]
    rows = [make_row(view) for view in views]
    pages = {render_page(make_report(order), views, [], []) for order in (rows, rows[::-1])}
    assert len(pages) == 1


def test_content_policy_lets_only_our_script_run(page: str) -> None:
    script = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
