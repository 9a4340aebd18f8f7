"""What is wrong with a setting."""


class ConfigError(ValueError):
    """A setting is wrong.

    Attributes:
        key: of the setting, empty when the file as a whole is at fault.
        source: where the value came from, such as ``environment TERCET_LISTEN``.
    """

    def __init__(self, key: str, problem: str, *, source: str = "") -> None:
        self.key = key
        self.problem = problem
        self.source = source
        where = f"{key} ({source})" if key and source else key or source
        super().__init__(f"{where}: {problem}" if where else problem)
