"""SPHERE as a garment: any method, its updates kept out of the weights' principal directions."""

from dataclasses import replace

from editing_core.methods.base import Method, Step
from editing_core.past_keys import PastKeys
from editing_core.recipe import Recipe
from editing_core.solution import LayerSolution
from editing_core.sphere import project
from editing_core.statistics import SecondMoment


class Sphere:
    """Δ ← Δ P⊥ for the Δ of another method, before or after the layers above are solved."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self.has_values = method.has_values
        self.single_layer, self.one_by_one = method.single_layer, method.one_by_one
        self.separable, self.remembers = method.separable, method.remembers
        self.projects_in_loop = method.projects_in_loop

    def update(self, step: Step) -> LayerSolution:
        """The method's update; projected, where the layers above are to see it projected."""
        update = self.method.update(step)
        return self._projected(step, update) if self.projects_in_loop else update

    def finish(self, step: Step, update: LayerSolution) -> LayerSolution:
        """The method's finished update, projected if it was not."""
        update = self.method.finish(step, update)
        return update if self.projects_in_loop else self._projected(step, update)

    def sphere_alpha(self, recipe: Recipe) -> float:
        """The method's."""
        return self.method.sphere_alpha(recipe)

    def memory(self, moment: SecondMoment, recipe: Recipe) -> PastKeys | None:
        """The method's."""
        return self.method.memory(moment, recipe)

    def _projected(self, step: Step, update: LayerSolution) -> LayerSolution:
        with step.scratch.phases.of("projection"):
            directions = step.scratch.directions.of(step.layer, step.weight)  # U (d_in, r)
            alpha = self.sphere_alpha(step.scratch.recipe)
            if update.dense is not None:
                return replace(update, dense=project(update.dense, directions, alpha))
            _, right = update.factors
            return replace(update, right=project(right, directions, alpha))


class SphereReprojected(Sphere):
    """SPHERE on AlphaEdit, whose update is then put back into the null space."""

    def _projected(self, step: Step, update: LayerSolution) -> LayerSolution:
        projected = super()._projected(step, update)
        null_space = step.problem.moment.null_space(step.scratch.recipe.alphaedit.tau)
        _, right = projected.factors
        return replace(projected, right=null_space(right.T).T)


class SphereInside(Sphere):
    """SPHERE inside AlphaEdit's solve: the best update in the projected space."""

    def update(self, step: Step) -> LayerSolution:
        """The method's update, solved with P⊥ on columns."""
        directions = step.scratch.directions.of(step.layer, step.weight)
        alpha = self.sphere_alpha(step.scratch.recipe)
        problem = replace(step.problem, sphere=lambda keys: project(keys.T, directions, alpha).T)
        return self.method.update(replace(step, problem=problem))

    def memory(self, moment: SecondMoment, recipe: Recipe) -> None:  # noqa: ARG002
        """None: the projected space follows the directions, which may change."""
        return
