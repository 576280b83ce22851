"""Packing: tables of a chunk as the bytes of one file, for a worker that reads nothing else.

The file is numpy's npz: the arrays, and a text that says in JSON how they belong together. It holds
values only; reading one runs nothing.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from typing import Any

import numpy as np

from llmsynthor.candidates import seed_sample as seedsample
from llmsynthor.targets import domain, zones
from llmsynthor.targets import levels as members
from llmsynthor.targets import table as tables

_KINDS = {
    name: kind
    for module in (domain, members, seedsample, tables, zones)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind)
}
"""What can be packed, by name: dataclasses of tables, variables, members, zones and seed samples."""


def packed(content: object) -> bytes:
    """Return dataclasses, tuples, dicts, lists, arrays and plain values as the bytes of a file."""
    arrays: list[np.ndarray] = []
    text = json.dumps(_plain(content, arrays), ensure_ascii=False)
    buffer = io.BytesIO()
    named = {f"a{number}": array for number, array in enumerate(arrays)}
    np.savez_compressed(buffer, text=np.array(text), **named)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpacked(content: bytes) -> Any:  # noqa: ANN401 - whatever was packed
    """Return what `packed` was given.

    Raises:
        ValueError: The bytes are not what `packed` returned.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return _filled(json.loads(str(file["text"])), file)
    except (OSError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from None


def _plain(content: Any, arrays: list[np.ndarray]) -> Any:  # noqa: ANN401
    """Return JSON's kinds of value; arrays go into the list."""
    if isinstance(content, np.ndarray):
        arrays.append(content)
        return {"array": len(arrays) - 1}
    if dataclasses.is_dataclass(content):
        fields = {
            field.name: _plain(getattr(content, field.name), arrays)
            for field in dataclasses.fields(content)
        }
        return {"kind": type(content).__name__, "fields": fields}
    if isinstance(content, tuple):
        return {"tuple": [_plain(item, arrays) for item in content]}
    if isinstance(content, list):
        return [_plain(item, arrays) for item in content]
    if isinstance(content, dict):
        return {"dict": [[_plain(k, arrays), _plain(v, arrays)] for k, v in content.items()]}
    return content.item() if isinstance(content, np.generic) else content


def _filled(content: Any, arrays: Any) -> Any:  # noqa: ANN401
    if isinstance(content, list):
        return [_filled(item, arrays) for item in content]
    if not isinstance(content, dict):
        return content
    if "array" in content:
        return arrays[f"a{content['array']}"]
    if "tuple" in content:
        return tuple(_filled(item, arrays) for item in content["tuple"])
    if "dict" in content:
        return {_filled(k, arrays): _filled(v, arrays) for k, v in content["dict"]}
    fields = {name: _filled(value, arrays) for name, value in content["fields"].items()}
    return _KINDS[content["kind"]](**fields)
