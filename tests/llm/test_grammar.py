"""Grammars for local models: no free whitespace, and every legal label spelt as JSON."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_jobs import DOMAIN

from llmsynthor.candidates.reply_schema import plan_schema
from llmsynthor.llm.prompts.groups import groups_schema
from llmsynthor.llm.providers.grammar import gbnf, literal


def spelt(text: str) -> str:
    """Return what a GBNF literal stands for, read as llama.cpp reads it."""
    assert (text[0], text[-1]) == ('"', '"')
    coded = r'\\(?:u([0-9A-F]{4})|U([0-9A-F]{8})|(["\\]))'
    return re.sub(coded, lambda m: m[3] if m[3] else chr(int(m[1] or m[2], 16)), text[1:-1])


def literals(grammar: str) -> list[str]:
    bare = re.sub(r"\[\^?(?:\\.|[^\]\\])*\]", "", grammar)
    return [spelt(found) for found in re.findall(r'"(?:\\.|[^"\\])*"', bare)]


def test_the_grammar_of_a_plan_holds_each_category_as_json():
    found = literals(gbnf(plan_schema(DOMAIN)))
    for label in DOMAIN["what"].shown:
        assert json.dumps(label, ensure_ascii=False) in found
    assert '{"what":' in found
    assert ',"how old":' in found


def test_the_grammar_of_groups_holds_two_to_four_names_each():
    grammar = gbnf(groups_schema(DOMAIN))
    found = literals(grammar)
    assert {json.dumps(name, ensure_ascii=False) for name in DOMAIN.names} <= set(found)
    assert '{"groups":' in found
    assert re.search(r'part-\d+ ::= "\[" part-\d+ \("," part-\d+\)\{1,3\} "\]"', grammar)
    assert re.search(
        r'::= "\[" \(part-\d+ \("," part-\d+\)\{0,11\}\)\? "\]"', grammar
    )  # none is fine


def test_a_variable_left_open_is_in_the_grammar():
    assert '"*"' in literals(gbnf(plan_schema(DOMAIN)))


def test_no_blank_outside_texts():
    grammar = gbnf(plan_schema(DOMAIN))
    labels = {json.dumps(label, ensure_ascii=False) for label in DOMAIN["what"].shown}
    for text in literals(grammar):
        outside = re.sub(r'"(?:\\.|[^"\\])*"', "", text)
        assert text in labels or not re.search(r"\s", outside), text
    bare = re.sub(r'"(?:\\.|[^"\\])*"', "", grammar.replace(r'[^"', "[^"))
    classes = re.findall(r"\[(?:\\.|[^\]\\])*\]", bare)
    assert set(classes) <= {r"[^\\\x00-\x1f\x7f]", "[1-9]", "[0-9]"}
    assert "\n" not in grammar.replace("\n", "", grammar.count("::=") - 1)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_literal_stands_for_its_text(text):
    spelling = literal(text)
    assert spelt(spelling) == text
    assert "\n" not in spelling


def test_texts_lists_and_weights_are_bounded():
    assert '{1,40} "\\""' in gbnf({"type": "string", "maxLength": 40})
    assert '("," part-0){0,2}' in gbnf({"type": "array", "items": {"enum": ["a"]}, "maxItems": 3})
    weights = {"type": "object", "properties": {"a": {"type": "number", "minimum": 0}}}
    assert '"-"' not in gbnf(weights)
    assert '"-"' in gbnf({"type": "number"})


def test_a_schema_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="no grammar is known"):
        gbnf({"type": "null"})
