"""Money moves between two banks, each with a database of its own (TCC)."""
