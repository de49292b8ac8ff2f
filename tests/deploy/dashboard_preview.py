"""Draws a dashboard from Prometheus' data, for the documentation. Grafana's own rendering looks different."""

import html
import math

COLUMN, ROW, MARGIN = 50, 32, 8
NOTE = "Drawn by tests/deploy/dashboard_preview.py from a test's conversion of the demonstration; Grafana draws it differently."
COLOURS = ("#3366aa", "#cc6622", "#338855", "#aa3377", "#777722", "#226688", "#993333", "#555555")


def draw(board, series_of, start, end):
    """Returns SVG text. `series_of(expression)` returns [(labels, [(time, value)])]."""
    panels = board["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * ROW + 60
    width = 24 * COLUMN + 2 * MARGIN
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
             f'font-family="DejaVu Sans, sans-serif" role="img" aria-label="{_text(board["title"])}">',
             f'<rect width="{width}" height="{height}" fill="#f4f5f5"/>',
             _label(MARGIN, 22, board["title"], 17, weight="bold"), _label(MARGIN, 40, NOTE, 11, "#666666")]
    for panel in panels:
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN + MARGIN, place["y"] * ROW + 52
        w, h = place["w"] * COLUMN - 6, place["h"] * ROW - 6
        if panel["type"] == "row":
            parts.append(_label(x, y + 18, panel["title"], 13, "#333333", "bold"))
            continue
        found = [(_legend(target, labels), points) for target in panel["targets"]
                 for labels, points in series_of(target["expr"])]
        parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="3" fill="white" stroke="#d8d9da"/>')
        parts.append(_label(x + 8, y + 17, panel["title"], 12, "#222222", "bold"))
        parts += _BODIES[panel["type"]](panel, found, (x + 8, y + 24, w - 16, h - 32), (start, end))
    return "\n".join([*parts, "</svg>", ""])


def _draw_number(panel, found, box, _times):
    x, y, w, h = box
    value = found[0][1][-1][1] if found else None
    return [_label(x + w / 2, y + h / 2 + 12, _amount(value, panel), 26, "#226644", anchor="middle")]


def _draw_table(_panel, found, box, times):
    """Draws the series that exist at the end, as Grafana's tables show them."""
    x, y, _, _ = box
    lines = sorted({name for name, points in found if points[-1][0] > times[1] - 3}) or ["no rows"]
    return [_label(x, y + 18 + 16 * index, line, 11, "#444444") for index, line in enumerate(lines[:6])]


def _draw_lines(panel, found, box, times):
    x, y, w, h = box
    left, bottom = 62, 16 * ((len(found) + 1) // 2) + 18
    plot = (x + left, y + 4, w - left - 6, max(20, h - bottom - 6))
    found = [(name, _corners([point for point in points if math.isfinite(point[1])])) for name, points in found]
    values = [value for _, points in found for _, value in points] or [0]
    low, high = min(0, *values), max(values)
    high = high if high > low else low + 1
    parts = _axes(panel, plot, low, high, times)
    for index, (name, points) in enumerate(found):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{plot[0] + (time - times[0]) / (times[1] - times[0]) * plot[2]:.1f},"
                        f"{plot[1] + (1 - (value - low) / (high - low)) * plot[3]:.1f}" for time, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        lx, ly = x + 4 + (index % 2) * w / 2, plot[1] + plot[3] + 32 + 16 * (index // 2)
        parts.append(f'<rect x="{lx}" y="{ly - 8}" width="10" height="4" fill="{colour}"/>')
        room = int((w / 2 - 18) / 6)
        parts.append(_label(lx + 14, ly - 2, name if len(name) <= room else name[:room - 1] + "…", 10, "#444444"))
    return parts


def _corners(points):
    """Drops points in the middle of a horizontal line."""
    return [point for index, point in enumerate(points) if not 0 < index < len(points) - 1 or
            not points[index - 1][1] == point[1] == points[index + 1][1]]


def _axes(panel, plot, low, high, times):
    x, y, w, h = plot
    parts = [f'<path d="M{x} {y}V{y + h}H{x + w}" fill="none" stroke="#bbbbbb"/>']
    for share in (0, 0.5, 1):
        level = y + (1 - share) * h
        parts.append(f'<path d="M{x} {level}h{w}" stroke="#eeeeee"/>')
        parts.append(_label(x - 4, level + 4, _amount(low + share * (high - low), panel), 10, "#666666", anchor="end"))
    parts.append(_label(x, y + h + 13, "0 s", 10, "#666666"))
    parts.append(_label(x + w, y + h + 13, f"{times[1] - times[0]:.0f} s", 10, "#666666", anchor="end"))
    return parts


_BODIES = {"stat": _draw_number, "gauge": _draw_number, "timeseries": _draw_lines, "table": _draw_table}


def _legend(target, labels):
    text = target["legendFormat"]
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text.strip() or labels.get("alertname", "")


def _amount(value, panel):
    if value is None or not math.isfinite(value):
        return "-"
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if unit == "percentunit":
        return f"{100 * value:.0f} %"
    if unit == "bytes":
        return f"{value / 2**20:.1f} MiB"
    if unit == "s" and abs(value) < 1:
        return f"{1000 * value:.3g} ms"
    suffix = {"s": " s", "reqps": "/s"}.get(unit, "")
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}") + suffix


def _label(x, y, text, size, colour="#222222", weight="normal", anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{_text(text)}</text>')


def _text(text):
    return html.escape(text)
