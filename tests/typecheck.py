"""Checks every annotation of the package whenever a function is called: types, shapes, dtypes."""

from __future__ import annotations

import ast
from typing import Any

import jax
import jaxtyping
import numpy as np
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintException
from jaxtyping._import_hook import JaxtypingTransformer

_CHECK: Any = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float too


def checked(function: Any) -> Any:
    """``beartype`` of a function; the function where a hint is one that nobody can check, such as
    a protocol of flax's."""
    try:
        return _CHECK(function)
    except BeartypeDecorHintException:
        return function


def install() -> None:
    """For all modules of the package that are imported from now on.

    Fields of dataclasses are left out: those here are pytrees, which hold whatever a function
    that is mapped over them returns. Arrays of NumPy pass as arrays, as they do in JAX.
    """

    def skip_class(self: JaxtypingTransformer, node: ast.ClassDef) -> ast.ClassDef:
        self._parents.append(node)
        self.generic_visit(node)
        self._parents.pop()
        return node

    JaxtypingTransformer.visit_ClassDef = skip_class  # pyright: ignore
    jaxtyping.Array = jax.Array | np.ndarray  # pyright: ignore
    jaxtyping.install_import_hook("molrel", "typecheck.checked")
