"""An extension of griffe, which reads docstrings for mkdocstrings: doctests are code, so they get fences."""

from __future__ import annotations

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*?(?=\n\n|\n(?:Args|Returns|Raises):|\Z)", re.S | re.M)


class Doctests(griffe.Extension):
    """Fence the doctests of every function and class."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Change a docstring where it is collected."""
        if obj.docstring and ">>> " in obj.docstring.value:
            obj.docstring.value = DOCTEST.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
