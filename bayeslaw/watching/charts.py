"""Small charts in SVG, drawn in the page's own colours so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from bayeslaw.text import short, three_digits

WIDTH, HEIGHT = 340.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 12.0, 10.0, 36.0
TICKS = 4

Point = tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """What a chart shows; x and y in their units.

    Attributes:
        x_label, y_label: in words.
        dots: measured points, and the name of each for a reader who hovers.
        lines: curves.
        bars: (x, lower, upper), an interval each.
        marks: x of vertical lines.
        log_x, log_y: whether an axis is logarithmic.
    """

    x_label: str
    y_label: str
    dots: Sequence[tuple[float, float, str]] = ()
    lines: Sequence[Sequence[Point]] = ()
    bars: Sequence[tuple[float, float, float]] = ()
    marks: Sequence[float] = ()
    log_x: bool = False
    log_y: bool = False


def svg(chart: Chart, title: str) -> str:
    """A chart as an SVG element; empty where it has nothing to show.

    Args:
        chart: the points.
        title: text alternative.
    """
    xs = (
        [x for x, *_ in chart.dots]
        + [x for line in chart.lines for x, _ in line]
        + [x for x, *_ in chart.bars]
    )
    ys = [y for _, y, _ in chart.dots] + [y for line in chart.lines for _, y in line]
    ys += [y for _, low, high in chart.bars for y in (low, high)]
    if not xs or not ys:
        return ""
    across = _scale(xs + list(chart.marks), LEFT, WIDTH - RIGHT, chart.log_x)
    up = _scale(ys, HEIGHT - BOTTOM, TOP, chart.log_y)
    parts = [*_axis_x(xs, across, chart), *_axis_y(ys, up, chart)]
    parts += [_upright("mark", across(x), TOP, HEIGHT - BOTTOM) for x in chart.marks]
    for line in chart.lines:
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        parts.append(f'<polyline class="curve" points="{path}"/>')
    parts += [_upright("bar", across(x), up(low), up(high)) for x, low, high in chart.bars]
    parts += [_dot(across(x), up(y), name) for x, y, name in chart.dots]
    view = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img"'
    return f'<svg {view} aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _upright(kind: str, x: float, start: float, end: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{start:.1f}" y2="{end:.1f}"/>'


def _dot(x: float, y: float, name: str) -> str:
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(name)}</title></circle>'


def _scale(values: Sequence[float], start: float, end: float, log: bool) -> Callable[[float], float]:
    """Map values to places between ``start`` and ``end``, with a margin of 4%."""
    turned = [math.log(value) for value in values] if log else list(values)
    low, high = min(turned), max(turned)
    room = 0.04 * (high - low) or 0.04 * abs(high) or 1.0

    def place(value: float) -> float:
        share = ((math.log(value) if log else value) - low + room) / (high - low + 2 * room)
        return start + share * (end - start)

    return place


def _ticks(values: Sequence[float], log: bool) -> list[float]:
    low, high = min(values), max(values)
    different = sorted(set(values))
    if len(different) <= TICKS:
        return different
    steps = range(TICKS)
    if log:
        return [low * (high / low) ** (i / (TICKS - 1)) for i in steps]
    return [low + (high - low) * i / (TICKS - 1) for i in steps]


def _words(value: float) -> str:
    return short(value) if abs(value) >= 1000 else three_digits(value)


def _axis_x(values: Sequence[float], across: Callable[[float], float], chart: Chart) -> list[str]:
    y = HEIGHT - BOTTOM
    parts = [
        f'<text x="{across(x):.1f}" y="{y + 14}" text-anchor="middle">{_words(x)}</text>'
        for x in _ticks(values, chart.log_x)
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>',
        *parts,
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(chart.x_label)}</text>',
    ]


def _axis_y(values: Sequence[float], up: Callable[[float], float], chart: Chart) -> list[str]:
    parts = []
    for y in _ticks(values, chart.log_y):
        place = up(y)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 5}" y="{place + 4:.1f}" text-anchor="end">{_words(y)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f'transform="rotate(-90 11 {middle})"'
    label = f'<text x="11" y="{middle}" {turned} text-anchor="middle">{escape(chart.y_label)}</text>'
    return [*parts, label]
