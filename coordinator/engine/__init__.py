"""The engine: effects around the pure core, against ports only."""
