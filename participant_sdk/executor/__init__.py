"""Runs handlers: from a call on the wire to its durable outcome."""
