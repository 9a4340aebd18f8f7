"""A saga as a picture: Mermaid text, or an SVG with a layout of its own."""

from coordinator.saga_kit.graph.mermaid import mermaid
from coordinator.saga_kit.graph.picture import Picture, picture_of
from coordinator.saga_kit.graph.state import Seen, State, states_of
from coordinator.saga_kit.graph.svg import svg

__all__ = ["Picture", "Seen", "State", "mermaid", "picture_of", "states_of", "svg"]
