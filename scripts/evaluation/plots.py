# SPDX-License-Identifier: Apache-2.0
"""Plots as SVG text: lines over a linear or logarithmic axis, and bars with their spread."""

import math
from html import escape

WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 78, 16, 14, 46
COLOURS = ["#2e7d32", "#c62828", "#ef6c00", "#f9a825", "#1565c0", "#6a1b9a", "#00838f", "#795548"]


def short(v):
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(v) >= limit:
            return f"{v / limit:.3g}{unit}"
    return f"{v:.3g}"


def ticks(low, high, log):
    if log:
        found = [m * 10.0 ** e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
                 for m in (1, 2, 5)]
        found = [v for v in found if low * 0.999 <= v <= high * 1.001]
        return found if len(found) <= 9 else [v for v in found if f"{v:e}"[0] == "1"]
    step = 10.0 ** math.floor(math.log10((high - low) / 4 or 1))
    step = next(step * m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 6)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, int(high / step + 1e-9) + 1)]


class Axis:
    def __init__(self, low, high, start, end, log=False):
        self.log, self.start, self.end = log, start, end
        self.low, self.high = (low, high) if high > low else (low * 0.9, low * 1.1 + 1)

    def at(self, v):
        f = math.log if self.log else (lambda x: x)
        part = (f(max(v, self.low) if self.log else v) - f(self.low)) / (f(self.high) - f(self.low))
        return self.start + part * (self.end - self.start)

    def ticks(self):
        return ticks(self.low, self.high, self.log)


def frame(x, y, x_title, y_title):
    out = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for v in y.ticks():
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(v):.1f}" y2="{y.at(v):.1f}"/>'
                   f'<text x="{LEFT - 6}" y="{y.at(v) + 4:.1f}" text-anchor="end">{short(v)}</text>')
    if x is not None:
        for v in x.ticks():
            out.append(f'<text x="{x.at(v):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{short(v)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_title)}</text>'
               f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y_title)}</text>')
    return out


def legend(names):
    return "<p>" + " ".join(f'<b style="color:{COLOURS[i % len(COLOURS)]}">{escape(n)}</b>'
                            for i, n in enumerate(names)) + "</p>"


def lines(series, x_title, y_title, x_log=False, y_log=False, mark=()):
    """series: {name: [(x, y) or (x, y, low, high)]}. mark: [(x, text)]. SVG and legend. A linear x axis begins at
    zero."""
    points = [p for s in series.values() for p in s]
    if not points:
        return "<p>no figures</p>"
    xs, ys = [p[0] for p in points], [v for p in points for v in p[1:]]
    x = Axis(min(xs) if x_log else 0, max(xs), LEFT, WIDTH - RIGHT, x_log)
    y = Axis(min(ys) * 0.8 if y_log else 0, max(ys) * 1.05, HEIGHT - BOTTOM, TOP, y_log)
    out = frame(x, y, x_title, y_title)
    for at, text in [m for m in mark if x.low <= m[0] <= x.high]:
        out.append(f'<line class="mark" x1="{x.at(at):.1f}" x2="{x.at(at):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
                   f'<text x="{x.at(at) + 4:.1f}" y="{TOP + 12}">{escape(text)}</text>')
    for i, s in enumerate(series.values()):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{x.at(p[0]):.1f},{y.at(p[1]):.1f}" for p in s)
        out.append(f'<polyline style="stroke:{colour}" points="{path}"/>')
        if len(s) <= 40:
            for p in s:
                out.append(f'<circle cx="{x.at(p[0]):.1f}" cy="{y.at(p[1]):.1f}" r="3" fill="{colour}"/>')
                if len(p) == 4:
                    out.append(f'<line style="stroke:{colour}" x1="{x.at(p[0]):.1f}" x2="{x.at(p[0]):.1f}" '
                               f'y1="{y.at(p[2]):.1f}" y2="{y.at(p[3]):.1f}"/>')
    return "\n".join(out) + "</svg>\n" + legend(series)


def bars(groups, names, y_title, y_log=False):
    """groups: {group: {name: (value, low, high)}}. SVG and legend."""
    values = [v for g in groups.values() for v in g.values()]
    if not values:
        return "<p>no figures</p>"
    y = Axis(min(v[1] for v in values) * 0.6 if y_log else 0, max(v[2] for v in values) * 1.05,
             HEIGHT - BOTTOM, TOP, y_log)
    out = frame(None, y, "", y_title)
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    width = room * 0.84 / max(1, len(names))
    for g, (group, entries) in enumerate(groups.items()):
        left = LEFT + g * room + room * 0.08
        out.append(f'<text x="{left + room * 0.42:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(str(group))}</text>')
        for i, name in enumerate(names):
            if name not in entries:
                continue
            value, low, high = entries[name]
            x, top = left + i * width, y.at(value)
            out.append(f'<rect x="{x:.1f}" y="{top:.1f}" width="{width * 0.9:.1f}" height="{HEIGHT - BOTTOM - top:.1f}" '
                       f'fill="{COLOURS[i % len(COLOURS)]}"><title>{escape(name)}: {value:,.0f}</title></rect>'
                       f'<line class="spread" x1="{x + width * 0.45:.1f}" x2="{x + width * 0.45:.1f}" '
                       f'y1="{y.at(low):.1f}" y2="{y.at(high):.1f}"/>')
    return "\n".join(out) + "</svg>\n" + legend(names)
