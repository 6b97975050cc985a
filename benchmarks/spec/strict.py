"""The base of everything that a user writes in an experiment file: unknown keys are errors, nothing is converted."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """A table of an experiment file; immutable once it has been read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, values: Any) -> Any:
        """Say which keys there are, where pydantic would only say that one is not among them."""
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    close = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                    remedy = f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(cls.model_fields)}"
                    raise ValueError(f"unknown key {key!r}; {remedy}")
        return values


def added(default: Any, description: str) -> Any:
    """A key that experiments had to do without once: with its default it is left out of their hash, and of dumps."""
    return Field(default=default, description=description, exclude_if=lambda value: value == default)
