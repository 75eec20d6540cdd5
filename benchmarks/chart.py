"""The chart: a panel for each task, a bar for each peer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from benchmarks.peer import Peer
from benchmarks.report import number
from benchmarks.results import TaskResults, verdicts

WIDTH, LABELS, ROW, MARGIN = 910, 300, 22, 24
BARS = WIDTH - LABELS - 130
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .value { fill: #57606a }
.bar { fill: #b6c2cf } .ours { fill: #1a7f5a } .limit { fill: #dfe4ea } .target { stroke: #cf222e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .value { fill: #9198a1 }
  .bar { fill: #57606a } .ours { fill: #3fb68b } .limit { fill: #373e47 }
}
"""


def chart(tasks: Sequence[TaskResults], peers: Mapping[str, Peer]) -> str:
    """Return an SVG of the first figure of each task; a red line is flowcore's target."""
    svg = ET.Element("svg", xmlns="http://www.w3.org/2000/svg")
    ET.SubElement(svg, "style").text = STYLE
    y = MARGIN
    for results in tasks:
        if any(results.rounds.values()):
            y = _panel(svg, results, peers, y) + MARGIN
    svg.set("viewBox", f"0 0 {WIDTH} {y}")
    svg.set("role", "img")
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"


def _panel(svg: ET.Element, results: TaskResults, peers: Mapping[str, Peer], y: int) -> int:
    figure = results.task.figures[0]
    medians = {name: results.median(name, figure.name) for name in results.rounds}
    medians = {name: value for name, value in medians.items() if value is not None}
    wanted = [each.wanted for each in verdicts(results) if each.figure is figure][:1]
    scale = BARS / (max(*medians.values(), *wanted, 0.0) or 1.0)
    better = f"{figure.title}, {figure.unit}; {figure.better} is better"
    _text(svg, 0, y, f"{results.task.id}, {results.task.title}", "title")
    y += ROW
    _text(svg, 0, y, better, "value")
    top = y
    for name in sorted(medians, key=lambda name: medians[name], reverse=figure.better == "higher"):
        y += ROW
        width = max(1.0, medians[name] * scale)
        _text(svg, LABELS - 8, y, peers[name].title, "label", anchor="end")
        bar = {"x": str(LABELS), "y": str(y - 13), "width": f"{width:.1f}", "height": "16"}
        ET.SubElement(svg, "rect", {**bar, "class": _kind(peers[name])})
        _text(svg, LABELS + width + 6, y, number(medians[name]), "value")
    for value in wanted:
        x = f"{LABELS + value * scale:.1f}"
        # On the side of the line where nothing else is written.
        side, anchor = (-5, "end") if value * scale > BARS * 0.6 else (5, "start")
        _text(svg, LABELS + value * scale + side, top, "target", "value", anchor=anchor)
        line = {"x1": x, "x2": x, "y1": str(top - 12), "y2": str(y + 5), "class": "target"}
        ET.SubElement(svg, "line", line)
    return y + ROW


def _kind(peer: Peer) -> str:
    if peer.title.startswith("limit"):
        return "limit"
    return "ours" if peer.repo else "bar"


def _text(svg: ET.Element, x: float, y: int, text: str, kind: str, anchor: str = "start") -> None:
    place = {"x": f"{x:.1f}", "y": str(y), "class": kind, "text-anchor": anchor}
    ET.SubElement(svg, "text", place).text = text
