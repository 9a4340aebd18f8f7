"""Promises of the participant SDK."""
