"""Pictures of sagas: complete, escaped, and without anything on top of anything."""

import itertools
from xml.etree import ElementTree as ET

import pytest

from coordinator.saga_kit.graph import (
    Picture,
    Seen,
    State,
    mermaid,
    picture_of,
    states_of,
    svg,
)
from coordinator.saga_kit.graph.layout import lay_out
from coordinator.saga_kit.graph.picture import Node
from tests.saga_kit.sagas import saga, whole

SVG = "{http://www.w3.org/2000/svg}"
ROUNDING = 0.001
NASTY = "<b>\"x\" & 'y' `z` #35; \x00\n</text>]]>"


def nasty():
    node = Node("a", NASTY, "call", (NASTY,), (NASTY,), NASTY, (), is_pivot=True)
    return Picture(NASTY, (node, Node("b", "b", "await", (NASTY,), (), "", ("a",))))


def boxes(layout):
    """All boxes of one scope, and those of the scopes inside."""
    inner = [placed.inside for placed in layout.placed if placed.inside]
    own = [placed.box for placed in layout.placed]
    own += [placed.undo for placed in layout.placed if placed.undo]
    return [own, *(scope for one in inner for scope in boxes(one))]


def overlap(one, two):
    return (
        one.x < two.x + two.width
        and two.x < one.x + one.width
        and one.y < two.bottom
        and two.y < one.bottom
    )


def wide():
    """Ten steps that need the first, and one that needs all of them and the first."""
    middle = "".join(
        f"- {{id: m{n}, needs: [first], call: m.m{n}, compensate: {{call: m.u{n}}}}}\n"
        for n in range(10)
    )
    needs = ", ".join(["first", *(f"m{n}" for n in range(10))])
    return saga(
        f"""
apiVersion: tercet/v1
kind: Saga
metadata: {{name: wide, version: 1.0.0}}
timeout: 1h
steps:
- {{id: first, call: a.a, compensate: none}}
{middle}- {{id: last, needs: [{needs}], call: z.z, compensate: none}}
"""
    )


@pytest.mark.parametrize("definition", [whole(), wide()], ids=lambda d: d.name)
def test_nothing_stands_on_top_of_anything(definition):
    """Neither steps nor compensations; and all stand inside the picture."""
    layout = lay_out(picture_of(definition))

    for scope in boxes(layout):
        for one, two in itertools.combinations(scope, 2):
            assert not overlap(one, two)
        for box in scope:
            assert box.x >= -ROUNDING
            assert box.y >= 0
            assert box.x + box.width <= layout.width + ROUNDING
            assert box.bottom <= layout.height


def test_arrows_point_down():
    """From what is needed to what needs it."""
    for arrow in lay_out(picture_of(whole())).arrows:
        heights = [y for _, y in arrow]
        assert heights == sorted(heights)


def test_an_svg_tells_all_of_it_in_words():
    """Everything has a title, for those who hover and those who listen."""
    root = ET.fromstring(svg(picture_of(whole())))
    titles = [element.text for element in root.iter(f"{SVG}title")]

    assert root.get("role") == "img"
    assert titles[0] == "Saga whole 1.0.0"
    assert any(
        (text or "").startswith("step pay (call); rails.transfer; pivot: once it has")
        for text in titles
    )
    assert "gift is undone by gift.cancel" in titles


@pytest.mark.parametrize("draw", [svg, mermaid])
def test_every_step_is_in_the_picture(draw):
    """With its operation, its fallbacks, and those of child sagas."""
    text = draw(picture_of(whole()))

    for word in ("reserve", "treasury.funds", "print.label", "old.post", "PIVOT"):
        assert word in text
    assert "2 at a time" in text
    assert "within 2m" in text


def test_an_svg_can_hold_any_text():
    """It stays well-formed, and no text becomes markup."""
    root = ET.fromstring(svg(nasty()))
    shown = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]

    assert any(text.startswith("<b>\"x\" & 'y' `z` #35; ") for text in shown)
    assert not list(root.iter(f"{SVG}b"))


def test_mermaid_can_hold_any_text():
    """No text ends its quotes, its line or its title."""
    lines = mermaid(nasty()).splitlines()

    assert lines[0] == "---"
    assert lines[1].startswith("title: '<b>\"x\" & ''y'' ")
    assert lines[3] == "---"
    for line in lines[5:]:
        assert line.count('"') in (0, 2)
        assert "<b>" not in line.replace("<br>", "")


def test_states_are_seen_and_read():
    """By colour and by word; of several items, how many are where."""
    definition = whole()
    states = states_of(
        definition,
        [
            Seen("reserve", "TRIED"),
            Seen("parts", "WAITING"),
            Seen("parts:0", "SUCCEEDED"),
            Seen("parts:0:hold", "TRIED"),
            Seen("parts:1", "WAITING"),
            Seen("parts:1:hold", "TRYING", 2),
            Seen("book", "REFUSED"),
            Seen("book:fallback-1", "RUNNING", 1),
            Seen(":signal:approved", "SUCCEEDED"),
        ],
    )
    assert states == {
        "reserve": State("TRIED"),
        "parts": State("WAITING", "items: 1 SUCCEEDED, 1 WAITING"),
        "parts:hold": State("TRYING", "1 TRIED, 1 TRYING"),
        "book": State("RUNNING", "1 failed attempt"),
    }
    picture = picture_of(definition, states)
    assert "class n0 done" in mermaid(picture)
    drawn = svg(picture)
    assert "items: 1 SUCCEEDED, 1 WAITING" in drawn
    assert "has not begun" in drawn


def test_a_state_that_nobody_knows_is_drawn_too():
    """A newer coordinator may know more words."""
    node = Node("a", "a", "call", ("x.y",), (), "", (), state=State("SLEEPING"))

    assert "SLEEPING" in svg(Picture("p", (node,), is_running=True))


def test_the_same_saga_gives_the_same_picture():
    """A picture in version control changes only with its saga."""
    assert svg(picture_of(whole())) == svg(picture_of(whole()))


def test_a_large_saga_with_long_arrows_is_drawn():
    """Thousands of places where an arrow crosses a layer cost no more than seconds."""
    steps = "".join(
        f"- {{id: s{n}, needs: [s{n - 1}, s{n // 2}], call: a.b, compensate: none}}\n"
        for n in range(4, 200)
    )
    definition = saga(
        f"""
apiVersion: tercet/v1
kind: Saga
metadata: {{name: large, version: 1.0.0}}
timeout: 10d
steps:
- {{id: s1, call: a.b, compensate: none}}
- {{id: s2, call: a.b, compensate: none}}
- {{id: s3, call: a.b, compensate: none}}
{steps}"""
    )
    layout = lay_out(picture_of(definition))

    assert len(layout.placed) == 199
    assert max(map(len, layout.arrows)) > 100
