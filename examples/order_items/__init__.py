"""An order whose lines are handled side by side."""
