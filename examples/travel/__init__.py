"""A journey with alternatives."""
