"""Figures over time as a drawing: an SVG with a panel for each unit, made of nothing but text.

Owns the drawing. Must not know what the figures mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 800
PANEL_HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 20, 40, 36
_TICKS: Final = 4
_NOTHING: Final = 1e-9
"""Below this a figure is drawn as 0, whatever its unit."""
_COLOURS: Final = ("#1f6fb2", "#c2542d", "#3c8d40", "#7a4fa3")


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines with one unit; each has one value per second."""

    title: str
    lines: dict[str, Sequence[float]]


def drawing(title: str, panels: Sequence[Panel]) -> str:
    """The whole SVG."""
    height = PANEL_HEIGHT * len(panels) + _TOP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _TOP + number * PANEL_HEIGHT)
    return "\n".join([*parts, "</svg>", ""])


def ceiling(value: float) -> float:
    """The smallest round number, 1, 2 or 5 times a power of ten, that is not below `value`; 1 of nothing."""
    if value < _NOTHING:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 2, 5) if step * power >= value), 10 * power)


def _panel(panel: Panel, top: int) -> list[str]:
    bottom, right = top + PANEL_HEIGHT - _BOTTOM, WIDTH - _RIGHT
    upper = top + 24
    count = max((len(values) for values in panel.lines.values()), default=0)
    largest = ceiling(max((max(values, default=0) for values in panel.lines.values()), default=0))
    parts = [f'<text x="{_LEFT}" y="{top + 14}">{escape(panel.title)}</text>']
    for tick in range(_TICKS + 1):
        y = bottom - (bottom - upper) * tick / _TICKS
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        label = f"{largest * tick / _TICKS:,.10g}"
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for number, (name, values) in enumerate(panel.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        step = (right - _LEFT) / max(count - 1, 1)
        points = " ".join(
            f"{_LEFT + at * step:.1f},{bottom - (bottom - upper) * value / largest:.1f}"
            for at, value in enumerate(values)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x = right - 150 * (len(panel.lines) - number)
        parts.append(f'<text x="{x}" y="{top + 14}" fill="{colour}">{escape(name)}</text>')
    parts.append(f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{count} s</text>')
    return parts
