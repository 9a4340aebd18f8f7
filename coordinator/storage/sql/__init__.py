"""Transactions in an SQL database. Start reading at :mod:`.store`."""
