"""The JSON objects that users' scripts read, held against their schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator


def schema(name: str) -> dict[str, Any]:
    """Returns the schema `name` (run, verify, test-verdict) that comes with the package."""
    return dict(json.loads((files("kmod_harness") / "schemas" / f"{name}.json").read_text()))


def require_schema(found: Mapping[str, Any], name: str) -> None:
    """Fails, with each place that does not fit, unless the object is as its schema says."""
    wrong = [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema(name)).iter_errors(found)
    ]
    assert not wrong, "\n".join(wrong)
