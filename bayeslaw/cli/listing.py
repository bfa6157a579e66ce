"""Options whose help is written from a registry."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from typer.core import TyperCommand, TyperOption

LISTED = {"adapter": "runs.layouts:layouts_help", "policy": "planning.policies:policies_help"}
"""Options whose help is written from a registry, and what writes it."""


def listed_help(option: str) -> str:
    """Help of an option of ``LISTED``."""
    module, _, function = LISTED[option].partition(":")
    text: str = getattr(import_module(f"bayeslaw.{module}"), function)()
    return text


class Listing(TyperCommand):
    """A command whose ``LISTED`` options are explained in full, from registries read when help is asked."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As every command's help, with the registries."""
        for parameter in self.params:
            if isinstance(parameter, TyperOption) and parameter.name in LISTED:
                parameter.help = listed_help(parameter.name)
        super().format_help(ctx, formatter)
