"""How long prompts get, and that what one prompt has no room for comes into view in another."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from odd_jobs import many, wide_job
from scripted_server import reply
from small_job import prompts_of, provider

from llmsynthor.llm.providers.litellm import load_litellm

TRIPS = Path(__file__).parents[2] / "configs" / "trips.yaml"


def tokens(text: str) -> int:
    """Return the tokens as litellm counts them for a model of OpenAI's, without a network."""
    return int(load_litellm().token_counter(model="gpt-4o", text=text))


STYLES = pytest.mark.parametrize("style", ["plan", "focus"])


@pytest.mark.slow
@STYLES
def test_the_trips_prompt_stays_short_at_every_iteration(tmp_path, style):
    content = yaml.safe_load(TRIPS.read_text())
    for table in content["tables"]:
        table["file"] = str(TRIPS.parent / table["file"])
    content["provider"] = provider("http://localhost", concurrency=1)
    content["engine"] |= {"candidates": 2000, "pilot_share": 0.0, "plan_style": style}
    content |= {"rules": [], "records": 2000}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    groups = [["mode", "age_band"], ["period", "worker", "purpose"], ["mode", "purpose"]]
    wanted = f"dependencies={json.dumps(groups)}"
    prompts = prompts_of(tmp_path / "job.yaml", [], many(content, 24), "--set", wanted)
    assert len(prompts) == 24
    assert max(tokens(prompt) for prompt in prompts) < 3500
    assert max(map(len, prompts[12:])) < 1.1 * max(map(len, prompts[4:12]))


@pytest.mark.slow
@STYLES
@pytest.mark.parametrize(
    ("sizes", "scopes"),
    [
        (
            {f"variable_{n:02d}": 4 + n % 9 for n in range(60)},
            [*((f"variable_{n:02d}",) for n in range(60)), ("variable_00", "variable_01")],
        ),
        ({"zone": 781, "sex": 2, "age": 9}, [("zone", "sex"), ("zone", "age")]),
        ({"job": 300, "branch": 300, "sex": 2}, [("job",), ("branch",), ("job", "sex")]),
    ],
    ids=["60 variables", "781 zones", "300 categories"],
)
def test_prompts_of_large_jobs_are_bounded(tmp_path, sizes, scopes, style):
    job = wide_job(tmp_path, sizes, scopes, plan_style=style)
    content = yaml.safe_load(job.read_text())
    prompts = prompts_of(job, [], many(content, 16))[:16]
    assert len(prompts) == 16
    assert max(tokens(prompt) for prompt in prompts) < 8000
    if style == "focus":
        return
    if "zone" in sizes:
        assert "and 741 more" in prompts[0]
        gaps = [line for line in prompts[-1].splitlines() if line.startswith("- zone=")]
        assert len(gaps) <= 17  # 3 of each of 3 statistics, and 8 too frequent
        assert "- sex=sex value 000: target 50.0 %" in prompts[0]  # summed from the zones' table
    if "job" in sizes:
        assert prompts[0].count("and 260 more") == 2
    if len(sizes) == 60:
        seen = [pairs_in(prompt) for prompt in prompts]
        assert all(seen)
        named = set(pairwise(sizes))
        # calls at the same moment list different ones, but for those of named groups
        assert not (seen[0] & seen[1]) - named
        whole = 60 * 59 // 2 - 1
        assert len(set().union(*seen)) > 0.95 * whole


def pairs_in(prompt: str) -> set[tuple[str, ...]]:
    """Return the pairs without a table that a prompt names, groups of two included."""
    found = {
        tuple(line.split("(")[1].split(")")[0].split(", "))
        for line in prompt.splitlines()
        if line.startswith("- no table is given for (")
    }
    if "variables that no table covers\n" in prompt:
        for line in (
            prompt.split("variables that no table covers\n")[1].split("\n#")[0].splitlines()
        ):
            if line.startswith("- "):
                first, _, others = line.removeprefix("- ").partition(" with ")
                found |= {(first, other) for other in others.split(", ")}
    return found


def test_one_call_an_iteration_comes_to_all_pairs_and_all_gaps(tmp_path):
    """What a prompt has no room for comes into view in a later one, though nothing is accepted."""
    long = [f"v{n:02d}_{'x' * 34}" for n in range(12)]
    sizes = dict(zip(long, [7, 8, *[2] * 10], strict=True))
    scopes = [*((name,) for name in long), (long[0], long[1])]
    job = wide_job(tmp_path, sizes, scopes, iterations=16, calls_per_iteration=1, patience=99)
    refused = json.dumps({"proposals": [{"reason": "r", "count": 1, "values": {"no": "no"}}]})
    options = ("--set", f"dependencies={json.dumps([[long[0], long[5]]])}")
    prompts = prompts_of(job, [], lambda _: reply(refused), *options)[::2]  # without the repairs
    assert len(prompts) == 16
    seen = [pairs_in(prompt) for prompt in prompts]
    matters = (long[0], long[5])
    assert all(matters in pairs for pairs in seen)  # a named group before all others
    whole = {(a, b) for i, a in enumerate(long) for b in long[i + 1 :]} - {(long[0], long[1])}
    assert seen[0] != whole
    assert set().union(*seen) == whole
    cells = [{x for x in p.splitlines() if ": target " in x} for p in prompts]
    assert {len(lines) for lines in cells} == {24}
    assert len(set().union(*cells)) == sum(sizes.values()) + sizes[long[0]] * sizes[long[1]]
    largest = [p.split("largest cells of the tables:\n")[1].splitlines()[0] for p in prompts]
    assert len(set(largest)) == 1  # the furthest off is always there
