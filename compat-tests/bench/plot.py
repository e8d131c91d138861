"""One picture a workload: for each measure a bar for each broker, a dot for each run, the ratio, and marks where the targets are.

Plain SVG without a library. PNG where rsvg-convert is installed.
"""
import html
import shutil
import subprocess

WIDTH, LEFT, BARS, ROW, HEAD, FOOT = 1080, 330, 400, 46, 84, 46
RATIO = WIDTH - 98  # where ratios end
COLOURS = ["#1f77b4", "#c9a26b", "#888888"]
VERDICTS = {"aim": ("#1a7f37", "✓ aim"), "must": ("#1a7f37", "✓ must"), "missed": ("#c62828", "missed"), None: ("#555", "")}


def short(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def text(x, y, words, size=12, colour="#222", anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">'
            f"{html.escape(words)}</text>")


def bars(top, figure, sides, floor):
    """The drawing of one measure."""
    measure = figure.measure
    present = [(index, side) for index, side in enumerate(sides) if figure.runs.get(side)]
    most = max(max(figure.runs[side]) for _, side in present) or 1
    floor_value = floor.get(measure.floor)
    scale = BARS / max(most, floor_value or 0)
    thick = (ROW - 14) / max(len(present), 1)
    parts = []
    for place, (index, side) in enumerate(present):
        y, median = top + 4 + place * thick, figure.median(side)
        parts.append(f'<rect x="{LEFT}" y="{y:.1f}" width="{max(median * scale, 0.8):.1f}" height="{thick - 2:.1f}" fill="{COLOURS[index]}" fill-opacity="0.85"/>')
        parts += [f'<circle cx="{LEFT + value * scale:.1f}" cy="{y + thick / 2 - 1:.1f}" r="2.2" fill="#222" fill-opacity="0.55"/>' for value in figure.runs[side]]
        parts.append(text(LEFT + max(figure.runs[side]) * scale + 7, y + thick / 2 + 3, f"{short(median)} {measure.unit}".strip(), 11, "#444"))
    other = figure.median("Apache Kafka")
    for bound, dash in ((measure.must, ""), (measure.aim, "3 2")):
        if bound is not None and other is not None and bound * other * scale <= BARS + 30:
            x = LEFT + bound * other * scale
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 1}" y2="{top + 5 + thick:.1f}" stroke="#c62828" stroke-width="1.6" stroke-dasharray="{dash}"/>')
    if floor_value:
        x = LEFT + floor_value * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 1}" y2="{top + ROW - 8}" stroke="#1a7f37" stroke-width="1.6"/>')
    return parts


def row(top, cell, figure, sides, floor):
    measure, ratio = figure.measure, figure.ratio()
    colour, verdict = VERDICTS[figure.verdict()]
    arrow = "more is better" if measure.more_is_better else "less is better"
    parts = [text(LEFT - 12, top + 18, measure.name, 12.5, anchor="end"),
             text(LEFT - 12, top + 33, f"{cell} · {arrow}" if cell else arrow, 10, "#777", "end"), *bars(top, figure, sides, floor)]
    if measure.law is not None:
        parts.append(text(RATIO, top + 37, f"itself ≤ {measure.law:g}×", 9, "#888", "end"))
    if ratio is not None:
        parts.append(text(RATIO, top + 22, f"{ratio:.3g}×", 15, colour, "end", "bold"))
        parts.append(text(RATIO + 10, top + 22, verdict, 11, colour))
    bounds = " ".join(f"{name} {'≥' if measure.more_is_better else '≤'} {bound}×" for name, bound in (("must", measure.must), ("aim", measure.aim)) if bound is not None)
    if ratio is not None and bounds and "Apache Kafka" in sides:
        parts.append(text(RATIO, top + 37, bounds, 9, "#888", "end"))
    return parts


def draw(title, subtitle, cells, sides, floor):
    """The SVG of one workload; `cells` are pairs of a name and its figures."""
    rows = [(cell, figure) for cell, figures in cells for figure in figures]
    height = HEAD + ROW * len(rows) + FOOT
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
             'font-family="DejaVu Sans, Helvetica, Arial, sans-serif">', f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
             text(24, 32, title, 19, weight="bold"), text(24, 52, subtitle, 11, "#666")]
    x = 24
    for index, side in enumerate(sides):
        parts += [f'<rect x="{x}" y="62" width="12" height="12" fill="{COLOURS[index]}"/>', text(x + 17, 72, side, 12)]
        x += 34 + 8 * len(side)
    if len(sides) > 1:
        parts.append(text(WIDTH - 24, 72, f"ratio of {sides[0]} to {sides[1]}, median of the rounds", 11, "#666", "end"))
    last = None
    for number, (cell, figure) in enumerate(rows):
        top = HEAD + ROW * number
        if number % 2 == 0:
            parts.append(f'<rect x="12" y="{top}" width="{WIDTH - 24}" height="{ROW}" fill="#f6f6f4"/>')
        if cell != last and number:
            parts.append(f'<line x1="12" x2="{WIDTH - 12}" y1="{top}" y2="{top}" stroke="#bbb" stroke-width="1"/>')
        last = cell
        parts += row(top, cell, figure, sides, floor)
    legend = "bar: median; dots: single runs"
    if "Apache Kafka" in sides:
        legend += "; red line: the least that is demanded, dashed: the aim"
    if any(floor.get(figure.measure.floor) for _, figure in rows):
        legend += "; green line: the physical floor, measured in the same run"
    parts += [text(24, height - 18, legend, 10, "#666"), "</svg>"]
    return "\n".join(parts) + "\n"


def has_png():
    return shutil.which("rsvg-convert") is not None


def write(path, svg):
    """PATH.svg, and PATH.png where there is a program for it."""
    with open(path + ".svg", "w") as file:
        file.write(svg)
    if has_png():
        subprocess.run(["rsvg-convert", "-z", "1.5", "-o", path + ".png", path + ".svg"], check=True)
