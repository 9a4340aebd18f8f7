"""The simulator: the real rules and the real engine in a world that misbehaves."""
