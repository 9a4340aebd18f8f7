"""The wire: unary services and the session stream, over one set of handlers."""
