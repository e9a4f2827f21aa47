"""What the functions of the package take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union

from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from ._core import Model

Feeds: TypeAlias = Mapping[str, ArrayLike]


class SampleSequence(Protocol):
    """Samples that are read when asked for, from any thread: len() and indexing, as of a list or Samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Feeds: ...


# A path is a folder or file that zeropoint.open_samples takes; what can only be iterated is read into memory once.
SampleSource: TypeAlias = SampleSequence | Iterable[Feeds] | str | os.PathLike[str]

ModelSource: TypeAlias = Union["Model", str, os.PathLike[str], bytes]

# Called with (done, total); True: a bar of tqdm's.
Progress: TypeAlias = Callable[[int, int], object] | bool


class DLPack(Protocol):
    """Memory that any library's from_dlpack takes over without a copy."""

    def __dlpack__(self, *, stream: Any = None) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...
