"""Transfers and loans while processes are killed, and an audit at the end."""
