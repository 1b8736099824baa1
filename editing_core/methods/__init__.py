"""The methods, by name; ``+sphere`` puts SPHERE on any of them.

To add a method, write a class that fulfils ``Method`` (most need only ``LowRank`` and their own
``adjusted_keys``) and list it in ``METHODS``; it then has ``mine`` and ``mine+sphere`` everywhere:
in the service, the benchmark and the tests. Without touching this package, an ``Editor`` takes
``methods={**METHODS, **with_sphere("mine", Mine())}``.
"""

from collections.abc import Mapping

from editing_core.errors import UnknownMethod
from editing_core.methods.alphaedit import AlphaEdit
from editing_core.methods.base import LayerProblem, LowRank, Method, MethodBase, Step
from editing_core.methods.emmet import Emmet
from editing_core.methods.finetune import FineTune
from editing_core.methods.memit import Memit, MemitSequential
from editing_core.methods.prune import Prune
from editing_core.methods.rect import Rect
from editing_core.methods.rome import Rome
from editing_core.methods.sphere import Sphere, SphereInside, SphereReprojected

__all__ = [
    "METHODS",
    "METHOD_NAMES",
    "LayerProblem",
    "LowRank",
    "Method",
    "MethodBase",
    "Sphere",
    "Step",
    "method_named",
    "with_sphere",
]


def with_sphere(name: str, method: Method) -> dict[str, Method]:
    """A method under its name, without SPHERE and with it."""
    return {name: method, f"{name}+sphere": Sphere(method)}


METHODS: Mapping[str, Method] = {
    **with_sphere("ft", FineTune()),
    **with_sphere("memit", Memit()),
    **with_sphere("memit-seq", MemitSequential()),
    **with_sphere("alphaedit", AlphaEdit()),
    "alphaedit+sphere=solve": SphereInside(AlphaEdit()),
    "alphaedit+sphere=reproject": SphereReprojected(AlphaEdit()),
    **with_sphere("rect", Rect()),
    **with_sphere("prune", Prune()),
    **with_sphere("emmet", Emmet()),
    **with_sphere("rome", Rome()),
}

METHOD_NAMES = tuple(METHODS)


def method_named(name: str, methods: Mapping[str, Method] = METHODS) -> Method:
    """The method of this name.

    Raises:
        UnknownMethod: No such name; the message lists those there are.
    """
    if name not in methods:
        raise UnknownMethod(f"method {name!r} is unknown; choose one of {', '.join(methods)}")
    return methods[name]
