"""A small job of households with persons: 200 households, 380 persons."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {
    "size_tenure.csv": "size,tenure,count\n1,owned,50\n1,rented,40\n2,owned,45\n2,rented,20\n3,owned,25\n3,rented,5\n4,owned,10\n4,rented,5\n",
    "tenure.csv": "tenure,count\nowned,130\nrented,70\n",
    "age_role.csv": "age,role,count\n0-15,child,70\n16-39,head,70\n16-39,partner,40\n16-39,child,15\n40+,head,130\n40+,partner,45\n",
    "sex.csv": "sex,count\nfemale,190\nmale,180\n",
}


def job_content(**changes: Any) -> dict[str, Any]:
    content = {
        "version": 1,
        "name": "homes",
        "description": "Households of a small town.",
        "records": 200,
        "seed": 5,
        "variables": {
            "size": {"type": "category", "values": ["1", "2", "3", "4"]},
            "tenure": {"type": "category", "values": ["owned", "rented"]},
            "cars": {"type": "integer", "min": 0, "max": 4},
        },
        "members": {
            "name": "person",
            "of": "household",
            "size": "size",
            "variables": {
                "age": {"type": "integer", "min": 0, "max": 95, "unit": "years"},
                "sex": {"type": "category", "values": ["female", "male"]},
                "role": {
                    "type": "category",
                    "values": ["head", "partner", "child"],
                    "description": "to the head",
                },
            },
        },
        "tables": [{"file": file} for file in TABLES],
        "rules": [
            {"name": "one head", "require": "COUNT(role = 'head') = 1"},
            {
                "name": "children are younger",
                "require": "role <> 'child' OR age <= MIN(age WHERE role = 'head') - 14",
            },
        ],
        "dependencies": "off",
        "provider": {"model": "none"},
        "engine": {"iterations": 2, "calls_per_iteration": 2, "candidates": 4000},
    }
    return content | changes


def write_job(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job_content(**changes), sort_keys=False))
    return path


def proposal(size: int = 1, **changes: Any) -> dict[str, Any]:
    blocks = [
        {"repeat": 1, "values": {"age": [30 + size, 60], "sex": "female", "role": "head"}},
        {"repeat": 1, "values": {"age": [28, 50 + size], "sex": "male", "role": "partner"}},
        {"repeat": 1, "values": {"age": [2, 14], "sex": ["male", "female"], "role": "child"}},
        {"repeat": 1, "values": {"age": [0, 12], "sex": "*", "role": "child"}},
    ]
    entry = {
        "reason": f"homes of {size}",
        "count": 100 - 20 * size,
        "values": {"size": str(size), "tenure": ["owned", "rented"], "cars": [1, 2]},
        "members": blocks[:size],
    }
    return entry | changes


def plan(*proposals: dict[str, Any]) -> str:
    return json.dumps({"proposals": list(proposals)})
