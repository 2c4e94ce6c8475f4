"""The parameters of a Keras model: their first values, their values now, and the planned ones in their place."""

from typing import Any

import numpy as np

from watch.keras.model.backends import Array, Backend
from watch.keras.model.calls import Calls
from watch.keras.model.layers import LayerTree
from watch.program.request import Plan
from watch.program.script import Session


class Parameters:
    """Reads and sets the parameters and buffers of the models.

    Args:
        session: The run.
        backend: The backend.
        tree: The layers and parameters.
        calls: The calls of layers.
        plan: The parameters to set.
    """

    def __init__(self, session: Session, backend: Backend, tree: LayerTree, calls: Calls, plan: Plan | None) -> None:
        self._session, self._backend, self.tree, self.calls, self.plan = session, backend, tree, calls, plan
        self.initial: dict[str, str | None] = {}
        self.previous: dict[str, tuple[str | None, Array]] = {}  # the key of each and its values, as last written down
        self.buffers: dict[str, Array] = {}  # as they were before the first forward pass of this step
        self._set_for = -1  # the step for which the planned ones were set
        self._stateless: dict[str, Array] = {}

    def forward_begins(self) -> None:
        """Before the first outermost call of a step: parameters are as the script left them."""
        self._stateless = {}
        self.buffers = {path: values for path, values in self.current().items() if path in self._buffer_paths()}

    def see(self) -> None:
        """Notes the initial values of parameters that are new, and sets those that are planned."""
        from keras.src.backend.common.stateless_scope import in_stateless_scope

        self.tree.refresh()
        for path, variable in self.tree.parameters().items():
            if path not in self.initial and (values := self._of(variable)) is not None:
                key = self._session.observation.keep(f"initial/{path}", values)
                held = values if key is None else self._session.observation.array(key)
                self.initial[path], self.previous[path] = key, (key, held)
                if self._session.step == 0:
                    self._set(path, variable, self._planned_parameters(0))
        if self._set_for < self._session.step and not in_stateless_scope():
            self._set_for = self._session.step
            planned = self._planned_parameters(self._session.step)
            for path, variable in self.tree.parameters().items():
                self._set(path, variable, planned)

    def planned_state(self, state: list[Any], variables: list[Any]) -> list[Any]:
        """JAX's state with the plan's parameters in their place."""
        planned = self._planned_parameters(self._session.step)
        found = []
        for value, variable in zip(state, variables, strict=True):
            array = self.plan.array(planned.get(self.tree.path(variable) or "")) if self.plan else None
            found.append(value if array is None else self._backend.tensor(array, value))
        return found

    def current(self) -> dict[str, Array]:
        """The values of all parameters now."""
        found = {path: self._of(variable) for path, variable in self.tree.parameters().items()}
        return {path: values for path, values in found.items() if values is not None} | self._stateless

    def before(self) -> dict[str, Array]:
        """The values before the step that comes, buffers as they were before its forward pass."""
        return self.current() | self._first_buffers() | self.buffers

    def stateless_called(self, layer: Any, fixed: list[Any]) -> None:
        """Notes the buffers that a stateless call of a layer returned."""
        if self.calls.evaluation is None and self._backend.differentiating():
            for variable, value in zip(layer.non_trainable_variables, fixed, strict=False):
                path, values = self.tree.path(variable), self._backend.values(value)
                if path is not None and values is not None:
                    self._stateless[path] = values

    def _first_buffers(self) -> dict[str, Array]:
        """Running statistics as they were made, of layers that the first forward pass made and then changed."""
        held = self._session.observation
        if self._session.step:
            return {}
        made = {path: self.initial.get(path) for path in self._buffer_paths() if path not in self.buffers}
        return {path: held.array(key) for path, key in made.items() if key is not None and held.has(key)}

    def _buffer_paths(self) -> set[str]:
        from watch.keras.model.layers import buffers

        held = {id(variable) for root in self.tree.roots for variable in buffers(root)}
        return {path for path, variable in self.tree.parameters().items() if id(variable) in held}

    def _of(self, variable: Any) -> Array | None:
        try:
            values = self._backend.values(variable.value)
        except (ValueError, AttributeError, RuntimeError):  # not initialized yet
            return None
        return None if values is None else np.array(values)

    def _planned_parameters(self, step: int) -> dict[str, str]:
        if self.plan is None:
            return {}
        return {**(self.plan.parameters if step == 0 else {}), **(self.plan.step(step).get("parameters") or {})}

    def _set(self, path: str, variable: Any, planned: dict[str, str]) -> None:
        array = self.plan.array(planned.get(path)) if self.plan is not None else None
        if array is not None:
            self.assign(variable, self._backend.tensor(array.reshape(tuple(variable.shape)), variable.value))

    def assign(self, variable: Any, value: Any) -> None:
        """Sets a variable, unseen."""
        with self._backend.paused():
            variable.assign(value)
