"""A saga as an SVG image: one file, no script, no font and nothing from elsewhere."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from coordinator.saga_kit.graph.colour import COLOURS, MEANINGS, colour_of
from coordinator.saga_kit.graph.layout import (
    CHAR,
    LINE,
    PAD,
    SHEETS,
    Box,
    Layout,
    Placed,
    lay_out,
    lines_of,
    moved,
    text_width,
)
from coordinator.saga_kit.graph.picture import Node, Picture, cut

_MARGIN = 24.0
_TITLE = 34.0
_SLANT = 14.0
_PLAIN = ("#ffffff", "#333333")
_WAITING = ("#ffffff", "#999999")
_STYLE = """
text { font: 12px "DejaVu Sans", Verdana, Arial, sans-serif; fill: #111 }
.title { font-size: 17px; font-weight: bold }
.name { font-size: 13px; font-weight: bold }
.bold { font-weight: bold }
.badge { fill: #fff; stroke: #888; stroke-width: 0.8 }
.kind { fill: #444; font-style: italic }
.code { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace }
.arrow { fill: none; stroke: #333; stroke-width: 1.4 }
.undo { fill: #fff; stroke: #555; stroke-width: 1.2; stroke-dasharray: 5 3 }
.back { fill: none; stroke: #555; stroke-width: 1.2; stroke-dasharray: 5 3 }
"""
_TIP = """<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5"
markerWidth="8" markerHeight="8" orient="auto-start-reverse">
<path d="M0 0 L10 5 L0 10 z" fill="#333"/></marker></defs>"""


def svg(picture: Picture) -> str:
    """The picture as SVG; ends with a newline."""
    layout = moved(lay_out(picture), _MARGIN, _MARGIN + _TITLE)
    legend, legend_width, legend_height = _legend(
        picture, _MARGIN, layout.height + 2 * _MARGIN + _TITLE
    )
    width = max(layout.width, legend_width, text_width(picture.title, 11)) + 2 * _MARGIN
    height = layout.height + legend_height + 3 * _MARGIN + _TITLE
    told = " / ".join(node.told for node in picture.nodes)
    size = f'width="{width:.0f}" height="{height:.0f}"'
    names = 'role="img" aria-labelledby="saga-title saga-description"'
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
            f'viewBox="0 0 {width:.0f} {height:.0f}" {names}>'
        ),
        f'<title id="saga-title">{_text(f"Saga {picture.title}")}</title>',
        f'<desc id="saga-description">{_text(told)}</desc>',
        f"<style>{_STYLE}</style>",
        _TIP,
        '<rect width="100%" height="100%" fill="#fff"/>',
        (
            f'<text class="title" x="{_MARGIN}" y="{_MARGIN + 16}">'
            f"{_text(picture.title)}</text>"
        ),
    ]
    drawn = _drawn(layout, is_running=picture.is_running)
    return "\n".join([*lines, *drawn, *legend, "</svg>\n"])


def _drawn(layout: Layout, *, is_running: bool) -> Iterator[str]:
    for arrow in layout.arrows:
        yield f'<path class="arrow" d="{_curve(arrow)}" marker-end="url(#tip)"/>'
    for placed in layout.placed:
        yield from _step(placed, is_running=is_running)


def _curve(points: tuple[tuple[float, float], ...]) -> str:
    """Leaves and enters every point straight down."""
    (x, y), *rest = points
    drawn = [f"M{x:.1f} {y:.1f}"]
    for to_x, to_y in rest:
        if x == to_x:
            drawn.append(f"L{to_x:.1f} {to_y:.1f}")
        else:
            half = (y + to_y) / 2
            drawn.append(
                f"C{x:.1f} {half:.1f} {to_x:.1f} {half:.1f} {to_x:.1f} {to_y:.1f}"
            )
        x, y = to_x, to_y
    return " ".join(drawn)


def _step(placed: Placed, *, is_running: bool) -> Iterator[str]:
    node, box = placed.node, placed.box
    fill, stroke = _WAITING if is_running else _PLAIN
    if node.state is not None:
        fill, stroke = COLOURS[colour_of(node.state.status)]
    yield f"<g><title>{_text(node.told)}</title>"
    if node.is_list:
        for sheet in (SHEETS, SHEETS / 2):
            yield _shape(node, box.moved(sheet, -sheet), fill, stroke)
    yield _shape(node, box, fill, stroke)
    yield from _words(placed)
    yield "</g>"
    if placed.undo is not None:
        yield from _undo(placed, placed.undo)
    if placed.inside is not None:
        yield from _drawn(placed.inside, is_running=is_running)


def _shape(node: Node, box: Box, fill: str, stroke: str) -> str:
    look = f'fill="{fill}" stroke="{stroke}" stroke-width="1.5"'
    if node.is_pivot:
        look = f'fill="{fill}" stroke="{stroke}" stroke-width="3.5"'
        middle = box.y + box.height / 2
        right = box.x + box.width
        points = [
            (box.x, middle),
            (box.x + _SLANT, box.y),
            (right - _SLANT, box.y),
            (right, middle),
            (right - _SLANT, box.bottom),
            (box.x + _SLANT, box.bottom),
        ]
        return _polygon(points, look)
    if node.word == "await":
        right = box.x + box.width
        points = [
            (box.x + _SLANT, box.y),
            (right, box.y),
            (right - _SLANT, box.bottom),
            (box.x, box.bottom),
        ]
        return _polygon(points, look)
    round_by = {"wait": box.height / 2, "saga": 2.0, "tcc": 2.0}.get(node.word, 7.0)
    shape = _rect(box, round_by, look)
    if node.word == "tcc":
        shape += _rect(_inner(box), 0.0, f'fill="none" stroke="{stroke}"')
    return shape


def _inner(box: Box) -> Box:
    return Box(box.x + 4, box.y + 4, box.width - 8, box.height - 8)


def _rect(box: Box, round_by: float, look: str) -> str:
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="{round_by:.1f}" {look}/>'
    )


def _polygon(points: list[tuple[float, float]], look: str) -> str:
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon points="{corners}" {look}/>'


def _words(placed: Placed) -> Iterator[str]:
    node, box = placed.node, placed.box
    y = box.y + PAD + 12
    yield (
        f'<text x="{box.middle:.1f}" y="{y:.1f}" text-anchor="middle">'
        f'<tspan class="name">{_text(node.title)}</tspan>'
        f'<tspan class="kind" dx="7">{_text(node.word)}</tspan></text>'
    )
    badges = {cut(badge) for badge in node.badges}
    code = set() if node.word == "await" else {cut(text) for text in node.detail}
    bold = {"PIVOT", node.state.status if node.state else ""}
    for line in lines_of(node):
        y += LINE
        if line in badges:
            width = text_width(line) + PAD
            badge = Box(box.middle - width / 2, y - 12, width, LINE - 1)
            yield _rect(badge, LINE / 2, 'class="badge"')
        look = ' class="code"' if line in code else ""
        look = ' class="bold"' if line in bold else look
        yield (
            f'<text{look} x="{box.middle:.1f}" y="{y:.1f}" '
            f'text-anchor="middle">{_text(line)}</text>'
        )


def _undo(placed: Placed, undo: Box) -> Iterator[str]:
    y = undo.y + undo.height / 2
    start = placed.box.x + placed.box.width
    told = f"{placed.node.title} is undone by {placed.node.undo}"
    yield (
        f'<path class="back" d="M{start:.1f} {y:.1f} L{undo.x:.1f} {y:.1f}" '
        'marker-end="url(#tip)"/>'
    )
    yield f"<g><title>{_text(told)}</title>"
    yield _rect(undo, 7.0, 'class="undo"')
    for number, (look, line) in enumerate(
        [("kind", "compensation"), ("code", cut(placed.node.undo))]
    ):
        yield (
            f'<text class="{look}" x="{undo.middle:.1f}" '
            f'y="{undo.y + 18 + number * LINE:.1f}" text-anchor="middle">'
            f"{_text(line)}</text>"
        )
    yield "</g>"


# ---- The legend -------------------------------------------------------------------

_KINDS = {
    "call": "call: an action",
    "tcc": "tcc: tried now, confirmed or cancelled later",
    "saga": "saga: a child saga",
    "wait": "wait: a timer",
    "await": "await: a signal",
}


def _legend(picture: Picture, x: float, y: float) -> tuple[list[str], float, float]:
    """What the shapes and colours mean, as far as they occur; with its size."""
    nodes = list(picture.everything())
    words = {node.word for node in nodes}
    entries: list[tuple[Node | str, str]] = [
        (_sample(word), text) for word, text in _KINDS.items() if word in words
    ]
    if any(node.is_pivot for node in nodes):
        text = "pivot: once it has succeeded, the saga only goes forward"
        entries.append((_sample("call", is_pivot=True), text))
    if any(node.is_list for node in nodes):
        entries.append((_sample("call", is_list=True), "for each item of a list"))
    if any(node.undo for node in nodes):
        entries.append(("undo", "compensation: how a step is undone"))
    colours = {colour_of(node.state.status) for node in nodes if node.state}
    entries += [(colour, MEANINGS[colour]) for colour in COLOURS if colour in colours]
    if picture.is_running and any(node.state is None for node in nodes):
        entries.append(("white", "has not begun"))
    drawn: list[str] = ['<g aria-hidden="true">']
    for number, (sample, text) in enumerate(entries):
        top = y + number * (LINE + 7)
        box = Box(x, top, 34.0, LINE)
        drawn.append(_sample_drawn(sample, box))
        drawn.append(f'<text x="{x + 46:.1f}" y="{top + 13:.1f}">{_text(text)}</text>')
    drawn.append("</g>")
    width = 46 + max((text_width(text, CHAR) for _, text in entries), default=0.0)
    return drawn, width, len(entries) * (LINE + 7)


def _sample(word: str, *, is_pivot: bool = False, is_list: bool = False) -> Node:
    return Node("", "", word, (), (), "", (), is_pivot=is_pivot, is_list=is_list)


def _sample_drawn(sample: Node | str, box: Box) -> str:
    if isinstance(sample, Node):
        sheet = _shape(sample, box.moved(3, -3), *_PLAIN) if sample.is_list else ""
        return sheet + _shape(sample, box, *_PLAIN)
    if sample == "undo":
        return _rect(box, 7.0, 'class="undo"')
    fill, stroke = COLOURS.get(sample, _WAITING)
    return _rect(box, 3.0, f'fill="{fill}" stroke="{stroke}"')


def _text(text: str) -> str:
    """Escaped, and without what XML does not allow."""
    return escape(
        "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )
