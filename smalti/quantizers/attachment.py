"""Attaches a quantizer's updates to an optimizer, and warns if nobody calls them.

What learns without gradients learns in `update`, once after each step of the optimizer. A call that
is forgotten leaves a codebook of random vectors, and nothing fails. So either an optimizer makes
the call, by a hook that runs after each of its steps, or the quantizer says once that it waits.
"""

import warnings
import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from smalti.quantizers.statistics import is_recomputing

__all__ = ["FORGOTTEN", "Attachment", "UpdateReminder", "attach"]

FORGOTTEN = 10  # forward passes in training without a first update


class Attachment:
    """The handle that `attach` returns; `detach` ends the calls of `update`."""

    def __init__(self, hooks: Iterable[RemovableHandle]) -> None:
        self._hooks = tuple(hooks)

    def detach(self) -> None:
        """Unties them; a second call does nothing."""
        for hook in self._hooks:
            hook.remove()


class UpdateReminder:
    """Warns once if a quantizer is trained for 10 forward passes without a call of `update`.

    It does not warn after the first `update` or `attach`, nor in a compiled graph. In a quantizer
    made of others, such as a residual one, only the outer one counts.

    Attributes:
        passes: Forward passes in training so far.
        silent: Whether it warned already, or need not.
        is_part: Whether its quantizer is part of another one.
    """

    def __init__(self) -> None:
        self.passes = 0
        self.silent = False
        self.is_part = False

    def count(self) -> None:
        """Counts a forward pass; warns at the tenth."""
        if self.silent or self.is_part or is_recomputing():
            return
        self.passes += 1
        if self.passes >= FORGOTTEN:
            self.silent = True
            warnings.warn(
                f"The codebook has not been updated in {FORGOTTEN} forward passes in training: "
                f"call quantizer.attach(optimizer) once, or the quantizer's update() after each "
                f"optimizer.step(), or its eval() if it is not to learn.",
                stacklevel=4,
            )

    def __deepcopy__(self, memo: Any) -> "UpdateReminder":
        copied = UpdateReminder()  # nobody has seen to the copy yet
        copied.is_part = self.is_part
        return copied


# Outside of the modules, for a copy of a module is attached to nothing.
_attached: "weakref.WeakKeyDictionary[Hashable, tuple[Any, RemovableHandle]]" = (
    weakref.WeakKeyDictionary()
)


def attach(modules: Iterable[nn.Module], optimizer: Optimizer) -> Attachment:
    """Calls each module's `update` after each step of an optimizer, from now on.

    A module is attached to one optimizer at a time: the same one again changes nothing, another one
    takes the place of the first.

    Arguments:
        modules: Modules with a method `update`.
        optimizer: The optimizer whose steps they follow.
    """
    hooks = []
    for module in modules:
        known = _attached.get(module)
        if known is not None and known[0]() is optimizer and _holds(known[1]):
            hooks.append(known[1])
            continue
        if known is not None:
            known[1].remove()
        hook = optimizer.register_step_post_hook(_update_hook(module))
        _attached[module] = (weakref.ref(optimizer), hook)
        hooks.append(hook)
    return Attachment(hooks)


def _update_hook(module: nn.Module) -> Callable[[Optimizer, Any, Any], None]:
    """Returns a hook for the optimizer which calls the module's `update`."""
    update: Callable[[], None] = module.update  # type: ignore[assignment]

    def after_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        update()

    return after_step


def _holds(hook: RemovableHandle) -> bool:
    """Returns whether a hook has not been removed."""
    hooks = hook.hooks_dict_ref()
    return hooks is not None and hook.id in hooks
