"""Computing the next result on another thread while the current one is used."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Prefetch(Generic[Item, Result]):
    """The results of a function of which the next can be prepared.

    Token trees are built by Python code, which runs while the training thread waits for a device or a matrix product.

    Args:
        compute: must depend on its argument only; is called on either thread.
    """

    def __init__(self, compute: Callable[[Item], Result]) -> None:
        self.compute = compute
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._prepared: tuple[Item, Future[Result]] | None = None

    def prepare(self, item: Item) -> None:
        """Start to compute the result for an item. An earlier one that was not taken is dropped."""
        self._prepared = (item, self._thread.submit(self.compute, item))

    def take(self, item: Item) -> Result:
        """The result for an item: the prepared one if it is for this very object, otherwise computed now."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] is item:
            return prepared[1].result()
        return self.compute(item)
