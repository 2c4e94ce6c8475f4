"""The calls of one forward pass: layers and functions with what went in and came out."""

import collections
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from watch.program.observation import Observation
from watch.program.request import Plan
from watch.source.places import Place
from watch.torch.model.tensors import array, forced, leaves, mapped, tensor_of

_MODEL_INPUT = -1
_GROUPS = 12  # of calls of the model that wait for a backward pass: those before them were an evaluation


class Group:
    """One call of the model from outside, with the calls inside it.

    Args:
        grad: Whether gradients were enabled.
    """

    def __init__(self, grad: bool) -> None:
        self.grad = grad
        self.calls: list[dict[str, Any]] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.kept = False  # the loss depends on it
        self.evaluated: list[Any] = []
        self.evaluation: list[dict[str, Any]] = []
        self.fed: list[str | None] = []


class Calls:
    """Records the calls of one forward pass, and forces planned values on them.

    Args:
        observation: Where values are kept.
        prefix: What the keys begin with, "step0" for one.
        keep: Whether values are kept; without, only plans are obeyed.
        plan: The judge's values; None where nothing is forced.
        planned: The judge's calls of this forward pass.
        of_step: Whether it is an optimizer's step, before which a script may evaluate: such calls are not counted.
    """

    def __init__(
        self, observation: Observation, prefix: str, keep: bool, plan: Plan | None, planned: list[dict[str, Any]],
        of_step: bool = False,
    ) -> None:  # fmt: skip
        self._observation = observation
        self._plan = plan
        self._prefix = prefix
        self._of_step = of_step
        self.keep = keep
        self._planned = {(call["layer"], call.get("occurrence", 0)): call for call in planned}
        self._occurrences: collections.Counter[str] = collections.Counter()
        self._number = 0
        # Tensors are known by identity: they are held here, so that no other one gets the same.
        self._keys: dict[int, tuple[Tensor, int, str | None]] = {}
        self._producers: dict[int, tuple[Tensor, dict[str, Any] | None]] = {}
        self._doomed: set[str] = set()
        self.untouched: set[int] = set()  # the memory of parameters, buffers and what was fed
        self.parents: list[str] = []
        self.groups: list[Group] = []
        self.committed: list[dict[str, Any]] = []
        self.pending: list[dict[str, Any]] = []  # of all groups and between them, in order

    def known(self, leaf: Any) -> bool:
        """Whether a tensor came out of a recorded call, or was fed to one."""
        return id(tensor_of(leaf)) in self._producers

    def produced(self, leaf: Any) -> bool:
        """Whether a tensor came out of a recorded call."""
        return self._producers.get(id(tensor_of(leaf)), (None, None))[1] is not None

    def feed(self, leaf: Any) -> None:
        """Notes a tensor as one of the model's inputs, whose values may have been replaced."""
        self._keys.pop(id(tensor_of(leaf)), None)
        self.untouched.add(tensor_of(leaf).untyped_storage().data_ptr())
        self._producers.setdefault(id(tensor_of(leaf)), (tensor_of(leaf), None))

    def open_group(self, grad: bool) -> Group:
        """A call of the model from outside begins."""
        waiting = [group for group in self.groups if not group.grad]
        if len(waiting) >= _GROUPS:
            self._drop([waiting[0]])
        group = Group(grad)
        self.groups.append(group)
        return group

    def key(self, leaf: Any, name: str) -> str | None:
        """Keeps a tensor's values, once for the same tensor, and gives their key."""
        if not self.keep:
            return None
        tensor = tensor_of(leaf)
        found = self._keys.get(id(tensor))
        packed = isinstance(leaf, PackedSequence)
        if found is not None and found[1] == _version(tensor) and not packed:
            return found[2]
        values = array(leaf)
        key = None if values is None else self._observation.keep(f"{self._prefix}/{name}", values)
        if not packed:
            self._keys[id(tensor)] = (tensor, _version(tensor), key)
        return key

    def enter(self, name: str, args: Any, options: Any) -> tuple[Any, Any, dict[str, Any]]:
        """A layer is called: its inputs are kept, then replaced by what is planned.

        Returns:
            The arguments and keyword arguments to go on with, and the call.
        """
        occurrence = self._occurrences[name] if self._counts() else -1
        self._occurrences[name] += occurrence >= 0
        number, self._number = self._number, self._number + 1
        given = leaves((args, options))
        call: dict[str, Any] = {
            "layer": name, "function": None, "occurrence": occurrence,
            "inputs": [self.key(leaf, f"call{number}/in{index}") for index, leaf in enumerate(given)],
            "outputs": [], "kwargs": {}, "preactivation": None, "place": None,
            "parent": self.parents[-1] if self.parents else None, "from": [self._producer(leaf) for leaf in given],
            "_number": number, "_given": [tensor_of(leaf) for leaf in given],
        }  # fmt: skip
        lengths = [pad_lengths(leaf) for leaf in given if isinstance(leaf, PackedSequence)]
        if lengths:
            call["packed"] = lengths[0]
        plan = self._planned.get((name, occurrence), {})
        planned = plan.get("inputs") or []
        if any(key is not None for key in planned):
            args, options = self._force((args, options), planned, taken_again=bool(plan.get("taken_again")))
        return args, options, call

    def _counts(self) -> bool:
        """Whether calls are of the pass that is recorded, and not of an evaluation of the script's own before it."""
        return not self._of_step or not self.groups or self.groups[-1].grad

    def leave(self, call: dict[str, Any], output: Any) -> Any:
        """A layer returns: its outputs are kept, then replaced by what is planned."""
        given = leaves(output)
        call["outputs"] = [self.key(leaf, f"call{call['_number']}/out{i}") for i, leaf in enumerate(given)]
        planned = self._planned.get((call["layer"], call["occurrence"]), {}).get("outputs") or []
        if any(key is not None for key in planned):
            output = self._force(output, planned)
        self._record(call, leaves(output))
        return output

    def keys_before(self, given: list[Any]) -> list[str | None]:
        """The keys of what goes into the next call, which may change it in place."""
        return [self.key(leaf, f"call{self._number}/in{index}") for index, leaf in enumerate(given)]

    def function(
        self, name: str, kwargs: dict[str, Any], given: list[Any], output: Any, place: Place | None,
        before: list[str | None] | None = None,
    ) -> None:  # fmt: skip
        """A function was called from the user's own code; `before` are the keys of its inputs if it changed one."""
        number, self._number = self._number, self._number + 1
        call: dict[str, Any] = {
            "layer": None, "function": name, "occurrence": 0,
            "inputs": before or [self.key(leaf, f"call{number}/in{index}") for index, leaf in enumerate(given)],
            "outputs": [self.key(leaf, f"call{number}/out{index}") for index, leaf in enumerate(leaves(output))],
            "kwargs": kwargs, "preactivation": None, "place": place,
            "parent": self.parents[-1] if self.parents else None, "from": [self._producer(leaf) for leaf in given],
            "_number": number, "_given": [tensor_of(leaf) for leaf in given],
        }  # fmt: skip
        self._record(call, leaves(output))

    def note_result(self, tensor: Tensor) -> None:
        """Notes a loss as a value that was computed, though by no call that is listed."""
        self._producers[id(tensor)] = (tensor, {"_loss": True})

    def _record(self, call: dict[str, Any], outputs: list[Any]) -> None:
        call["_outputs"] = [tensor_of(leaf) for leaf in outputs]
        for leaf in outputs:
            tensor = tensor_of(leaf)
            self._producers[id(tensor)] = (tensor, call)
        self.pending.append(call)

    def _producer(self, leaf: Any) -> Any:
        """The call that a tensor came out of, -1 for the model's input, None of any other."""
        if id(tensor_of(leaf)) not in self._producers:
            return None
        return self._producers[id(tensor_of(leaf))][1] or _MODEL_INPUT

    def _force(self, value: Any, planned: list[str | None], *, taken_again: bool = False) -> Any:
        keys = iter(planned)

        def replace(leaf: Any) -> Any:
            values = None if self._plan is None else self._plan.array(next(keys, None))
            if values is None:
                return leaf
            result = forced(leaf, values)
            if taken_again:
                self._put_in_the_stream(leaf, result)
            if id(tensor_of(leaf)) in self._producers:
                self._producers[id(tensor_of(result))] = (
                    tensor_of(result), self._producers[id(tensor_of(leaf))][1],
                )  # fmt: skip
            return result

        return mapped(value, replace)

    def _put_in_the_stream(self, leaf: Any, result: Any) -> None:
        """Gives what a layer was to be fed to all that takes the same tensor later, such as the sum around a block.

        Else one fault in a stream of residuals would be met again before every layer behind it. The guide's own value
        has to be taken again there. The memory of parameters, buffers and what was fed is left as it is.
        """
        if isinstance(leaf, PackedSequence) or result is leaf or not self.produced(leaf):
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():  # noqa: SLF001
            memory = leaf.untyped_storage().data_ptr()
            if memory in self.untouched or _spread_out(leaf) or torch.equal(leaf, result):
                return
            leaf.data.copy_(result)
            changed = [
                number for number, (tensor, _, _) in self._keys.items() if tensor.untyped_storage().data_ptr() == memory
            ]
            for number in changed:  # its views, too, have other values now
                del self._keys[number]

    def commit(self, losses: list[Tensor]) -> list[Group]:
        """A backward pass begins: keeps the calls that its losses depend on, and drops the others.

        Returns:
            The groups that are kept.
        """
        nodes = _graph(losses)
        reached = [group for group in self.groups if group.grad and _reached(group.outputs, nodes)]
        if self.groups and not reached:
            reached = [group for group in self.groups if group.grad][-1:]
        needed = {id(tensor_of(leaf)) for group in reached for leaf in group.inputs}
        needed |= {
            id(tensor) for call in self.pending if _reached(call["_outputs"], nodes)
            for tensor in call["_given"]
        }  # fmt: skip
        for group in reversed(self.groups):
            if group not in reached and any(id(tensor_of(leaf)) in needed for leaf in group.outputs):
                reached.append(group)
                needed |= {id(tensor_of(leaf)) for leaf in group.inputs}
        reached.sort(key=self.groups.index)
        for group in reached:
            group.kept = True
        self._drop([group for group in self.groups if group not in reached])
        inside = {id(call) for group in reached for call in group.calls}
        for call in self.pending:
            if id(call) in inside or _reached(call["_outputs"], nodes):
                self.committed.append(call)
            else:
                self._discard(call)
        self.groups, self.pending = [], []
        self._sweep()
        return reached

    def _drop(self, groups: list[Group]) -> None:
        """Forgets groups: an evaluation, or a call whose result is not used."""
        for group in groups:
            self.groups.remove(group)
            inside = {id(call) for call in group.calls}
            self.pending = [call for call in self.pending if id(call) not in inside]
            for call in group.calls:
                self._discard(call)

    def _discard(self, call: dict[str, Any]) -> None:
        self._doomed |= {key for key in [*call["inputs"], *call["outputs"]] if key is not None}

    def _sweep(self) -> None:
        """Forgets the values of dropped calls, but for those that a call which is kept has as well."""
        used = {key for call in [*self.committed, *self.pending] for key in [*call["inputs"], *call["outputs"]]}
        gone = self._doomed - used
        self._observation.discard(sorted(gone))
        self._keys = {number: entry for number, entry in self._keys.items() if entry[2] not in gone}
        self._doomed = set()

    def finished(self) -> list[dict[str, Any]]:
        """The calls that were kept, to be written: producers as indices."""
        index = {id(call): number for number, call in enumerate(self.committed)}
        result = []
        for call in self.committed:
            entry = {name: value for name, value in call.items() if not name.startswith("_")}
            entry["from"] = [index.get(id(made)) if isinstance(made, dict) else made for made in call["from"]]
            result.append(entry)
        return result

    def release(self) -> None:
        """Lets go of all tensors."""
        self._keys.clear()
        self._producers.clear()
        self.groups, self.pending = [], []
        for call in self.committed:
            call["_outputs"], call["_given"] = [], []


def _spread_out(tensor: Tensor) -> bool:
    """Whether several places of a tensor are one in memory, as where it is expanded."""
    return any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True))


def pad_lengths(leaf: PackedSequence) -> list[int]:
    """The lengths of the sequences in a packed one."""
    with torch._C.DisableTorchFunction():  # noqa: SLF001
        lengths = torch.nn.utils.rnn.pad_packed_sequence(leaf, batch_first=True)[1]
        return [int(length) for length in lengths]


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version  # noqa: SLF001


def _graph(losses: list[Tensor]) -> set[Any]:
    """All nodes of autograd's graph that these tensors depend on."""
    waiting = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    nodes: set[Any] = set(waiting)
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is not None and node not in nodes:
                nodes.add(node)
                waiting.append(node)
    return nodes


def _reached(outputs: list[Any], nodes: set[Any]) -> bool:
    return any(tensor_of(leaf).grad_fn in nodes for leaf in outputs if tensor_of(leaf).grad_fn is not None)
