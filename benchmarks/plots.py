"""Plots as SVG: a dot for each figure, on a logarithmic axis, since rivals differ by orders.

The same figures give the same file, to the last byte. Colours follow the reader's scheme.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Final

from benchmarks.figures import Spread
from benchmarks.report import number

WIDTH: Final = 760
LEFT: Final = 150
RIGHT: Final = 90
ROW: Final = 20
HEADING: Final = 26
TOP: Final = 34
BOTTOM: Final = 30

_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 14px }
.group { font-weight: 600 }
.tick { fill: #57606a; font-size: 11px }
.grid { stroke: #d0d7de; stroke-width: 1 }
.loom { fill: #0969da; stroke: #0969da }
.limit { fill: #8c959f; stroke: #8c959f }
.peer { fill: #bc4c00; stroke: #bc4c00 }
.spread { stroke-width: 3; stroke-opacity: 0.35 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.tick { fill: #9198a1 }
.grid { stroke: #3d444d }
.loom { fill: #4493f8; stroke: #4493f8 }
.peer { fill: #f0883e; stroke: #f0883e }
}
"""


@dataclass(frozen=True, slots=True)
class Dot:
    """A figure of one subject."""

    subject: str
    value: Spread


@dataclass(frozen=True, slots=True)
class Group:
    """The figures of one case."""

    name: str
    dots: Sequence[Dot]


def dot_plot(title: str, groups: Sequence[Group]) -> str:
    """An SVG document.

    Raises ``ValueError`` when there are no figures.
    """
    axis = _Axis([dot.value for group in groups for dot in group.dots])
    height = TOP + BOTTOM + sum(HEADING + ROW * len(group.dots) for group in groups)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="8" y="20">{escape(title)}</text>',
        *axis.grid(height),
        *_groups(groups, axis),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


class _Axis:
    """From the power of ten below all values to the one above."""

    def __init__(self, values: Sequence[Spread]) -> None:
        if not values:
            raise ValueError("nothing to draw")
        self._low = floor(log10(min(value.min for value in values)))
        self._high = max(ceil(log10(max(value.max for value in values))), self._low + 1)

    def at(self, value: float) -> float:
        share = (log10(value) - self._low) / (self._high - self._low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def grid(self, height: int) -> Iterator[str]:
        for power in range(self._low, self._high + 1):
            x = self.at(10.0**power)
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{height - BOTTOM}"/>'
            label = f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
            y = height - BOTTOM + 16
            yield f'<text class="tick" text-anchor="middle" x="{x}" y="{y}">{label}</text>'


def _groups(groups: Sequence[Group], axis: _Axis) -> Iterator[str]:
    y = TOP
    for group in groups:
        y += HEADING
        yield f'<text class="group" x="8" y="{y - 8}">{escape(group.name)}</text>'
        for dot in group.dots:
            yield from _dot(dot, axis, y)
            y += ROW


def _dot(dot: Dot, axis: _Axis, y: int) -> Iterator[str]:
    value, middle = dot.value, y + ROW / 2 - 4
    kind = "peer" if dot.subject != "loom" else "loom"
    kind = "limit" if dot.subject.startswith("limit") else kind
    low, high, x = axis.at(value.min), axis.at(value.max), axis.at(value.median)
    yield f'<text x="24" y="{y + ROW / 2}">{escape(dot.subject)}</text>'
    yield f'<line class="{kind} spread" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
    yield f'<circle class="{kind}" cx="{x}" cy="{middle}" r="4"/>'
    yield f'<text x="{max(high, x) + 9}" y="{y + ROW / 2}">{number(value.median)}</text>'
