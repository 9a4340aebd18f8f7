"""A saga as Mermaid text, which Git forges, wikis and editors draw."""

from collections.abc import Iterator

from coordinator.saga_kit.graph.colour import COLOURS, colour_of
from coordinator.saga_kit.graph.picture import Node, Picture

_SHAPES = {
    "call": ("[", "]"),
    "tcc": ("[[", "]]"),
    "wait": ("([", "])"),
    "await": ("[/", "/]"),
}
_PIVOT = ("{{", "}}")
_CONFIG = "config: {flowchart: {wrappingWidth: 600}}"


def mermaid(picture: Picture) -> str:
    """The picture as a flowchart; ends with a newline."""
    numbers: dict[str, str] = {}
    _number(picture, numbers)
    lines = ["---", f"title: {_quoted(picture.title)}", _CONFIG, "---", "flowchart TB"]
    lines += _nodes(picture, numbers, "  ")
    lines += _edges(picture, numbers)
    lines += _classes(picture, numbers)
    return "\n".join(lines) + "\n"


def _number(picture: Picture, numbers: dict[str, str]) -> None:
    for node in picture.nodes:
        numbers[node.node_id] = f"n{len(numbers)}"
        if node.inside is not None:
            _number(node.inside, numbers)


def _nodes(picture: Picture, numbers: dict[str, str], margin: str) -> Iterator[str]:
    for node in picture.nodes:
        name = numbers[node.node_id]
        text = "<br>".join(map(_escaped, _lines(node)))
        if node.inside is not None:
            # Mermaid draws a title's second line across what is inside.
            text = _escaped(", ".join(_lines(node)))
            yield f'{margin}subgraph {name}["{text}"]'
            yield from _nodes(node.inside, numbers, f"{margin}  ")
            yield f"{margin}end"
            continue
        left, right = _PIVOT if node.is_pivot else _SHAPES[node.word]
        yield f'{margin}{name}{left}"{text}"{right}'
        if node.undo:
            yield f'{margin}{name}u["undo: {_escaped(node.undo)}"]'


def _lines(node: Node) -> list[str]:
    pivot = ["PIVOT"] if node.is_pivot else []
    state = []
    if node.state is not None:
        note = f" ({node.state.note})" if node.state.note else ""
        state = [f"{node.state.status}{note}"]
    kind = f"{node.word}: " if node.detail else node.word
    first, *rest = node.detail or ("",)
    return [node.title, f"{kind}{first}", *rest, *node.badges, *pivot, *state]


def _edges(picture: Picture, numbers: dict[str, str]) -> Iterator[str]:
    for node in picture.nodes:
        name = numbers[node.node_id]
        for need in node.needs:
            yield f"  {numbers[need]} --> {name}"
        if node.undo:
            yield f"  {name} -.-> {name}u"
        if node.inside is not None:
            yield from _edges(node.inside, numbers)


def _classes(picture: Picture, numbers: dict[str, str]) -> Iterator[str]:
    nodes = list(picture.everything())
    undone = [f"{numbers[node.node_id]}u" for node in nodes if node.undo]
    if undone:
        yield "  classDef undo fill:#ffffff,stroke:#555555,stroke-dasharray:4 3"
        yield f"  class {','.join(undone)} undo"
    by_colour: dict[str, list[str]] = {}
    for node in nodes:
        if node.state is not None:
            name = numbers[node.node_id]
            by_colour.setdefault(colour_of(node.state.status), []).append(name)
    for colour, names in by_colour.items():
        fill, stroke = COLOURS[colour]
        yield f"  classDef {colour} fill:{fill},stroke:{stroke},color:#111111"
        yield f"  class {','.join(names)} {colour}"
    pivots = [numbers[node.node_id] for node in nodes if node.is_pivot]
    if pivots:
        yield "  classDef pivot stroke-width:4px"
        yield f"  class {','.join(pivots)} pivot"


_ENTITIES = {
    ord('"'): "#quot;",
    ord("#"): "#35;",
    ord("&"): "#amp;",
    ord("<"): "#lt;",
    ord(">"): "#gt;",
    ord("`"): "#96;",
}


def _escaped(text: str) -> str:
    """Nothing in it can end the text, or mean anything to Mermaid or HTML."""
    on_one_line = "".join(c if c.isprintable() else " " for c in text)
    return on_one_line.translate(_ENTITIES)


def _quoted(text: str) -> str:
    on_one_line = "".join(c if c.isprintable() else " " for c in text)
    return "'" + on_one_line.replace("'", "''") + "'"
