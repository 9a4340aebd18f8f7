"""The only place where the wire's messages and the model meet.

``requests`` and ``participants`` read what is sent to the coordinator and check all of
it; ``answers`` writes what it sends; ``enums`` knows the numbers.
"""
