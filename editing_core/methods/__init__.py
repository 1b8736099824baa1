"""The update rules, by name; ``+sphere`` adds the SPHERE projection to any of them."""

from editing_core.errors import UnknownMethod
from editing_core.methods.alphaedit import AlphaEdit
from editing_core.methods.base import LayerProblem, Method
from editing_core.methods.memit import Memit

__all__ = ["METHOD_NAMES", "LayerProblem", "Method", "base_name", "method_named", "uses_sphere"]

_METHODS: dict[str, type[Method]] = {"memit": Memit, "alphaedit": AlphaEdit}
_SPHERE = "+sphere"

METHOD_NAMES = tuple(name + suffix for name in _METHODS for suffix in ("", _SPHERE))


def base_name(name: str) -> str:
    """The update rule of a method name: ``alphaedit`` for ``alphaedit+sphere``."""
    return name.removesuffix(_SPHERE)


def uses_sphere(name: str) -> bool:
    """Whether a method name asks for the SPHERE projection."""
    return name.endswith(_SPHERE)


def method_named(name: str) -> Method:
    """The update rule of ``name``.

    Raises:
        UnknownMethod: No such rule; the message lists those there are.
    """
    if name not in METHOD_NAMES:
        raise UnknownMethod(f"method {name!r} is unknown; choose one of {', '.join(METHOD_NAMES)}")
    return _METHODS[base_name(name)]()
