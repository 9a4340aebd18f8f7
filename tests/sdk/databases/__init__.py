"""The barrier on each kind of database, by each kind of driver."""
