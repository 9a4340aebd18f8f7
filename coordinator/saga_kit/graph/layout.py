"""Where everything of a picture stands: layers from top to bottom, by needs.

The usual way (Sugiyama): each step one layer below the last that it needs; long arrows
get a place in every layer that they cross; the order in a layer follows the neighbours'
middle; then each layer is moved as near to its neighbours as its order allows. A child
saga is laid out first and is one box for the saga around it.
"""

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean
from unicodedata import east_asian_width

from coordinator.saga_kit.graph.picture import Node, Picture, cut

LINE = 17.0
PAD = 12.0
GAP_X = 34.0
GAP_Y = 44.0
UNDO_GAP = 30.0
TITLE_CHAR = 8.2
CHAR = 7.3
SHEETS = 10.0
"""How far the sheets behind a list stand out, above and on the right."""

_SWEEPS = 12
_CELLS_SWEPT = 60_000
"""Of all sweeps together: about a second."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, by its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Between left and right."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height

    def moved(self, x: float, y: float) -> "Box":
        """The same, elsewhere."""
        return replace(self, x=self.x + x, y=self.y + y)


@dataclass(frozen=True, slots=True)
class Placed:
    """A step at its place.

    Attributes:
        head: height of the lines of text, above what is inside.
        undo: the box of its compensation.
    """

    node: Node
    box: Box
    head: float
    undo: Box | None = None
    inside: "Layout | None" = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A saga at its place; coordinates are those of the whole picture.

    Attributes:
        arrows: each through these points, from top to bottom.
    """

    width: float
    height: float
    placed: tuple[Placed, ...]
    arrows: tuple[tuple[tuple[float, float], ...], ...]


def lay_out(picture: Picture) -> Layout:
    """The places of all steps, from (0, 0)."""
    graph = _Graph(picture)
    graph.sort()
    graph.align()
    return graph.layout()


def lines_of(node: Node) -> list[str]:
    """What is written in a step's box below its title."""
    lines = [cut(text) for text in (*node.detail, *node.badges)]
    if node.is_pivot:
        lines.append("PIVOT")
    if node.state is not None:
        lines.append(node.state.status)
        if node.state.note:
            lines.append(cut(node.state.note))
    return lines


def text_width(text: str, char: float = CHAR) -> float:
    """How wide a text is drawn, a little more rather than less."""
    return sum(2.0 if east_asian_width(c) in "WF" else 1.0 for c in text) * char


@dataclass(slots=True)
class _Cell:
    """A step, or the place where a long arrow crosses a layer."""

    name: str
    layer: int
    node: Node | None = None
    width: float = 2.0
    height: float = 0.0
    head: float = 0.0
    undo_width: float = 0.0
    inside: Layout | None = None
    x: float = 0.0
    above: list["_Cell"] = field(default_factory=list)
    below: list["_Cell"] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.width / 2

    @property
    def right(self) -> float:
        beside = SHEETS if self.node is not None and self.node.is_list else 0.0
        if self.undo_width:
            beside = UNDO_GAP + self.undo_width
        return self.width / 2 + beside


class _Graph:
    def __init__(self, picture: Picture) -> None:
        layers = _layers(picture.nodes)
        self._layers: list[list[_Cell]] = [[] for _ in range(max(layers.values()) + 1)]
        self._cells: dict[str, _Cell] = {}
        self._paths: list[list[_Cell]] = []
        for node in picture.nodes:
            cell = _cell(node, layers[node.node_id])
            self._cells[node.node_id] = cell
            self._layers[cell.layer].append(cell)
        for node in picture.nodes:
            for need in dict.fromkeys(node.needs):
                self._connect(self._cells[need], self._cells[node.node_id])

    def _connect(self, above: _Cell, below: _Cell) -> None:
        path = [above]
        for layer in range(above.layer + 1, below.layer):
            crossing = _Cell(f"{above.name}>{below.name}", layer)
            self._layers[layer].append(crossing)
            path.append(crossing)
        path.append(below)
        for first, second in pairwise(path):
            first.below.append(second)
            second.above.append(first)
        self._paths.append(path)

    def sort(self) -> None:
        """Order each layer so that few arrows cross."""
        places: dict[int, float] = {}
        for layer in self._layers:
            _note_places(layer, places)
        best, fewest = self._order(), self._crossings()
        for sweep in range(self._sweeps()):
            down = sweep % 2 == 0
            for layer in self._layers if down else self._layers[::-1]:
                layer.sort(key=lambda c: _middle(c, places, down=down))
                _note_places(layer, places)
            if (crossings := self._crossings()) < fewest:
                best, fewest = self._order(), crossings
        self._layers = best

    def _sweeps(self) -> int:
        """Fewer for a picture that is so large that nobody sees the difference."""
        cells = sum(map(len, self._layers))
        return max(2, min(_SWEEPS, _CELLS_SWEPT // (cells + 1)))

    def _order(self) -> list[list[_Cell]]:
        return [list(layer) for layer in self._layers]

    def _crossings(self) -> int:
        """Pairs of arrows that cross: those that end in the other order than begun."""
        places = {id(c): at for layer in self._layers for at, c in enumerate(layer)}
        total = 0
        for layer in self._layers:
            ended: list[int] = []
            for cell in layer:
                for end in sorted(places[id(below)] for below in cell.below):
                    total += len(ended) - bisect_right(ended, end)
                    insort(ended, end)
        return total

    def align(self) -> None:
        """Move each layer as near to its neighbours as its order allows."""
        for layer in self._layers:
            _settle(layer, [0.0] * len(layer))
        for sweep in range(2 * self._sweeps()):
            down = sweep % 2 == 0
            for layer in self._layers if down else self._layers[::-1]:
                wanted = []
                for cell in layer:
                    beside = (cell.above if down else cell.below) or (
                        cell.below if down else cell.above
                    )
                    wanted.append(fmean(c.x for c in beside) if beside else cell.x)
                _settle(layer, wanted)

    def layout(self) -> Layout:
        """All at its place, the upper left corner at (0, 0)."""
        cells = [cell for layer in self._layers for cell in layer]
        left = min(cell.x - cell.left for cell in cells)
        width = max(cell.x + cell.right for cell in cells) - left
        tops: list[float] = []
        y = 0.0
        for layer in self._layers:
            tops.append(y)
            y += max(cell.height for cell in layer) + GAP_Y
        placed = [
            _placed(cell, cell.node, cell.x - left, tops[cell.layer])
            for cell in cells
            if cell.node is not None
        ]
        heights = [max(cell.height for cell in layer) for layer in self._layers]
        arrows = [_arrow(path, left, tops, heights) for path in self._paths]
        return Layout(width, y - GAP_Y, tuple(placed), tuple(arrows))


def _layers(nodes: Sequence[Node]) -> dict[str, int]:
    """The layer of each step: one below the last that it needs."""
    needs = {node.node_id: node.needs for node in nodes}
    layers: dict[str, int] = {}
    todo = list(needs)
    while todo:
        name = todo.pop()
        missing = [need for need in needs[name] if need not in layers]
        if missing:
            todo += [name, *missing]
        else:
            layers[name] = max((layers[n] + 1 for n in needs[name]), default=0)
    return layers


def _cell(node: Node, layer: int) -> _Cell:
    lines = lines_of(node)
    widths = [text_width(line) for line in lines]
    width = max([text_width(f"{node.title}  {node.word}", TITLE_CHAR), *widths])
    head = LINE * (1 + len(lines))
    width += 2 * PAD + (24.0 if node.is_pivot or node.word in ("await", "wait") else 0)
    height = head + 2 * PAD + (SHEETS if node.is_list else 0.0)
    cell = _Cell(node.node_id, layer, node, width, height, head)
    if node.inside is not None:
        cell.inside = lay_out(node.inside)
        cell.width = max(width, cell.inside.width + 2 * PAD)
        cell.height = height + cell.inside.height + PAD
    if node.undo:
        cell.undo_width = text_width(cut(node.undo)) + 2 * PAD
    return cell


def _note_places(layer: Sequence[_Cell], places: dict[int, float]) -> None:
    """Where each cell of a layer stands, from 0 to 1."""
    last = max(1, len(layer) - 1)
    places.update((id(cell), place / last) for place, cell in enumerate(layer))


def _middle(cell: _Cell, places: Mapping[int, float], *, down: bool) -> float:
    beside = cell.above if down else cell.below
    return fmean(places[id(c)] for c in beside) if beside else places[id(cell)]


def _settle(layer: list[_Cell], wanted: Sequence[float]) -> None:
    """Put cells as near to where they are wanted as their order and widths allow.

    Least squares under an order: neighbours that would overlap are pooled, and a pool
    stands at its mean.
    """
    offsets = [0.0]
    for before, cell in pairwise(layer):
        offsets.append(offsets[-1] + before.right + GAP_X + cell.left)
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        mean, count = want - offset, 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean = (mean * count + other * others) / (count + others)
            count += others
        pools.append((mean, count))
    at = [mean for mean, count in pools for _ in range(count)]
    for cell, base, offset in zip(layer, at, offsets, strict=True):
        cell.x = base + offset


def _placed(cell: _Cell, node: Node, x: float, y: float) -> Placed:
    sheets = SHEETS if node.is_list else 0.0
    y += sheets
    box = Box(x - cell.width / 2, y, cell.width, cell.height - sheets)
    undo = inside = None
    if cell.undo_width:
        height = 2 * LINE + PAD
        undo_y = y + (box.height - height) / 2
        undo = Box(box.x + box.width + UNDO_GAP, undo_y, cell.undo_width, height)
    if cell.inside is not None:
        inner_x = box.middle - cell.inside.width / 2
        inside = moved(cell.inside, inner_x, y + cell.head + 2 * PAD)
    return Placed(node, box, cell.head, undo, inside)


def moved(layout: Layout, x: float, y: float) -> Layout:
    """The same layout elsewhere."""
    return Layout(
        layout.width,
        layout.height,
        tuple(
            replace(
                placed,
                box=placed.box.moved(x, y),
                undo=placed.undo.moved(x, y) if placed.undo else None,
                inside=moved(placed.inside, x, y) if placed.inside else None,
            )
            for placed in layout.placed
        ),
        tuple(tuple((px + x, py + y) for px, py in arrow) for arrow in layout.arrows),
    )


def _arrow(
    path: list[_Cell], left: float, tops: list[float], heights: list[float]
) -> tuple[tuple[float, float], ...]:
    """From below the first cell, straight through the crossings, to the last one."""
    first, *crossings, last = path
    points = [(first.x - left, tops[first.layer] + first.height)]
    for cell in crossings:
        top = tops[cell.layer]
        points += [(cell.x - left, top), (cell.x - left, top + heights[cell.layer])]
    points.append((last.x - left, tops[last.layer]))
    return tuple(points)
