"""The page in the reader's language: every text of it is English in the code, and looked up here."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from results.record import Say

Language = Literal["en", "zh"]


def texts(language: Language) -> Say:
    """Return what gives a text in a language; what it does not know, such as a framework's message, stays as it is."""
    if language == "en":
        return str
    known = catalog(language)
    return lambda text: known.get(text, text)


@cache
def catalog(language: Language) -> dict[str, str]:
    """The texts of a language other than English, by the English ones."""
    return tomllib.loads((Path(__file__).parent / f"{language}.toml").read_text("utf-8"))
