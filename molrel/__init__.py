"""Molecular relational learning across domains, in JAX."""

import sys

# Compiled programs stay on disk for the next process. It must be settled before JAX is imported,
# and importing this package is the last moment that is certain to come before.
if "jax" not in sys.modules:
    from molrel.memory import name_compilation_cache

    name_compilation_cache()


def __getattr__(name: str) -> str:
    """``__version__``, which is looked up only when it is asked for."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("molrel")
    except PackageNotFoundError:  # a checkout that was never installed
        return "0+unknown"
