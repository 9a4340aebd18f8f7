"""A loan is paid out by four services, each with a database of its own (Saga)."""
