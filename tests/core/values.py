"""What is asked of the values of a module, whatever they are called."""

from types import ModuleType

import msgspec


def values_of(module: ModuleType) -> list[type[msgspec.Struct]]:
    """The structs that it declares."""
    found = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind.__module__ == module.__name__
    ]
    assert found, f"{module.__name__} declares no values"
    return found


def mutable(module: ModuleType) -> list[str]:
    """Names of those that could be changed behind somebody's back."""
    return [
        kind.__name__ for kind in values_of(module) if not kind.__struct_config__.frozen
    ]
