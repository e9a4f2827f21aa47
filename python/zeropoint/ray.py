"""Calibration and evaluation on many machines, with Ray Data: ``pip install zeropoint[ray]``.

>>> import ray, zeropoint as q, zeropoint.ray
>>> dataset = ray.data.read_parquet("s3://bucket/pictures").map(decode)     # a column for each input of the model
>>> fused = q.fuse(q.load("model.onnx"))
>>> statistics = zeropoint.ray.calibrate(fused, dataset, recipe, workers=64)
>>> result = q.quantize("model.onnx", recipe=recipe, statistics=statistics)
>>> zeropoint.ray.evaluate(result.model, labelled, label="label", workers=64)

Workers are Ray actors, each with native sessions of its own; Ray Data streams blocks of the dataset to them. A block is
a shard: its statistics leave the worker in one piece, when all of it was seen. The shard of a worker that was lost is
run again from its start elsewhere. So nothing counts twice, and the result is that of one process, byte for byte.
``docs/scale.md`` has costs and advice.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

try:
    import pyarrow as pa
    import ray
    import ray.data
except ImportError as error:
    raise ImportError(f"zeropoint.ray needs Ray Data: pip install zeropoint[ray] ({error})") from error

from . import _core
from ._core import Accuracy, Model, Recipe, Statistics
from ._errors import Error
from ._types import Feeds, ModelSource

__all__ = ["calibrate", "evaluate"]

_FAN_IN = 8  # states that are merged at once

# What workers send. Errors are rows, too: Ray hands on the text of an exception, not the exception.
_STATES = pa.schema({"shards": pa.list_(pa.string()), "state": pa.large_binary(), "error": pa.binary()})
_COUNTS = pa.schema(
    {"shard": pa.string(), "samples": pa.int64(), "top1": pa.int64(), "top5": pa.int64(), "error": pa.binary()}
)


def calibrate(
    model: ModelSource,
    dataset: ray.data.Dataset,
    recipe: Recipe | None = None,
    *,
    values: Sequence[str] | None = None,
    workers: int | None = None,
    threads: int = 1,
    max_isa: str | None = None,
    mix_isas: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    allow_non_finite: bool = False,
    ray_remote_args: Mapping[str, Any] | None = None,
) -> Statistics:
    """Runs the float model over a dataset once, on many machines, and observes its values.

    The same bytes as ``zeropoint.calibrate(model, rows, recipe)`` in one process.

    dataset: one sample a row, in columns named as the model's inputs; other columns are left alone. A row of shape
    [C,H,W] is a sample [1,C,H,W] of an input [N,C,H,W]. A block is the unit of work, and what is repeated when a worker
    is lost; ``dataset.repartition`` makes more or fewer of them.
    workers: Ray actors; None takes as many as the cluster has CPUs for. threads: of each worker, and CPUs it asks Ray
    for.
    max_isa: machines of different instruction sets compute floats that differ in last bits; the least of them, named
    here, makes them agree. mix_isas: accept such differences instead.
    ray_remote_args: more for the actors, as of Dataset.map_batches: memory, runtime_env, label_selector, ...

    Raises Error as zeropoint.calibrate does.
    """
    loaded = model if isinstance(model, Model) else _core.load(model)
    options = {
        "recipe": recipe,
        "values": None if values is None else list(values),
        "threads": threads,
        "max_isa": max_isa,
        "shapes": None if shapes is None else {name: list(dims) for name, dims in shapes.items()},
        "allow_non_finite": allow_non_finite,
    }
    _core.Calibrator(loaded, **options)  # what is wrong with the arguments is said here
    count = _workers(workers, threads)
    states = _on_actors(dataset, _CalibrateShard, (ray.put(loaded), options), count, threads, ray_remote_args)
    for _ in range(_merging_stages(count)):
        states = states.map_batches(
            _merge_states,
            batch_size=_FAN_IN,
            batch_format="pyarrow",
            fn_kwargs={"mix_isas": mix_isas},
            num_cpus=0,  # or merging would wait for the workers' CPUs
        )
    merged = _Tree(mix_isas)
    for state in states.iter_rows():
        _raise_error(state)
        merged.add(_Part.of_row(state))
    return merged.total()


def evaluate(
    model: ModelSource,
    dataset: ray.data.Dataset,
    *,
    label: str = "label",
    workers: int | None = None,
    threads: int = 1,
    max_isa: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    ray_remote_args: Mapping[str, Any] | None = None,
) -> Accuracy:
    """Share of rows whose label is the place of the largest element of the model's first output, on many machines.

    dataset: as of calibrate(), with a column ``label`` of class numbers. The other arguments are those of calibrate().
    The result is that of ``zeropoint.evaluate`` in one process.
    """
    loaded = model if isinstance(model, Model) else _core.load(model)
    options = {
        "threads": threads,
        "max_isa": max_isa,
        "shapes": None if shapes is None else {name: list(dims) for name, dims in shapes.items()},
    }
    _core.Evaluator(loaded, **options)
    count = _workers(workers, threads)
    arguments = (ray.put(loaded), options, label)
    counts = _on_actors(dataset, _EvaluateShard, arguments, count, threads, ray_remote_args)
    seen: set[str] = set()
    samples = top1 = top5 = 0
    has_top5 = True
    for row in counts.iter_rows():
        _raise_error(row)
        if row["shard"] in seen:
            continue
        seen.add(row["shard"])
        samples += row["samples"]
        top1 += row["top1"]
        top5 += row["top5"] or 0
        has_top5 = has_top5 and row["top5"] is not None
    if samples == 0:
        raise Error("bad_sample", "dataset", "dataset: it has no rows to evaluate on")
    return Accuracy(samples, top1 / samples, top5 / samples if has_top5 else None)


class _Block:
    """The samples of a block, for the native side: len() and indexing."""

    def __init__(self, columns: Mapping[str, np.ndarray], model: Model) -> None:
        self._ranks: dict[str, int | None] = {}
        for each in model.inputs:
            if each.name not in columns:
                has = ", ".join(f"'{name}'" for name in columns)
                message = f"dataset: no column for the input '{each.name}'; it has {has or 'none'}"
                raise Error("bad_sample", "dataset", message)
            self._ranks[each.name] = None if each.shape is None else len(each.shape)
        self._columns = columns

    def __len__(self) -> int:
        return _length(self._columns)

    def __getitem__(self, index: int, /) -> Feeds:
        feeds = {}
        for name, rank in self._ranks.items():
            array = np.asarray(self._columns[name][index])
            feeds[name] = array[np.newaxis] if rank == array.ndim + 1 else array
        return feeds


def _length(columns: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(columns.values()))) if columns else 0


class _ShardNames:
    """A name for each shard that a worker runs; a shard that is run again on a new actor has the same one."""

    def __init__(self) -> None:
        self._task = ""
        self._next = 0

    def name(self) -> str:
        task = ray.get_runtime_context().get_task_id() or ""
        if task != self._task:
            self._task, self._next = task, 0
        self._next += 1
        return f"{task}.{self._next}"


class _CalibrateShard:
    """What an actor holds; called with block after block."""

    def __init__(self, model: ray.ObjectRef[Model], options: dict[str, Any]) -> None:
        self._model = ray.get(model)
        self._calibrator = _core.Calibrator(self._model, **options)
        self._names = _ShardNames()

    def __call__(self, columns: dict[str, np.ndarray]) -> pa.Table:
        if _length(columns) == 0:
            return _Part.table([])
        name = self._names.name()
        try:
            return _Part.table([_Part({name}, self._calibrator.calibrate(_Block(columns, self._model)))])
        except Error as error:
            return _Part.table([], error)


class _EvaluateShard:
    def __init__(self, model: ray.ObjectRef[Model], options: dict[str, Any], label: str) -> None:
        self._model = ray.get(model)
        self._evaluator = _core.Evaluator(self._model, **options)
        self._label = label
        self._names = _ShardNames()

    def __call__(self, columns: dict[str, np.ndarray]) -> pa.Table:
        rows: list[dict[str, Any]] = []
        if _length(columns) != 0:
            name = self._names.name()
            try:
                labels = self.labels_of(columns, self._label)
                seen = self._evaluator.evaluate(_Block(columns, self._model), labels=labels)
                top1, top5 = (_count(share, seen.samples) for share in (seen.top1, seen.top5))
                rows = [{"shard": name, "samples": seen.samples, "top1": top1, "top5": top5}]
            except Error as error:
                rows = [{"shard": name, "error": pickle.dumps(error)}]
        return pa.Table.from_pylist(rows, _COUNTS)

    @staticmethod
    def labels_of(columns: Mapping[str, np.ndarray], label: str) -> list[int]:
        if label not in columns:
            raise Error("bad_sample", "dataset", f"dataset: no column '{label}' with labels")
        return [int(each) for each in columns[label]]


def _count(share: float | None, samples: int) -> int | None:
    return None if share is None else round(share * samples)


class _Part:
    """Statistics of some shards, and which."""

    def __init__(self, shards: set[str], statistics: Statistics) -> None:
        self.shards = shards
        self.statistics = statistics

    @staticmethod
    def table(parts: Sequence[_Part], error: Error | None = None) -> pa.Table:
        rows: list[dict[str, Any]] = [
            {"shards": sorted(part.shards), "state": part.statistics.to_bytes()} for part in parts
        ]
        if error is not None:
            rows.append({"shards": [], "error": pickle.dumps(error)})
        return pa.Table.from_pylist(rows, _STATES)

    @staticmethod
    def of_row(row: Mapping[str, Any]) -> _Part:
        return _Part(set(row["shards"]), _core.load_statistics(bytes(row["state"])))


class _Tree:
    """Merges parts as they come, equals with equals: a state is in as many merges as the tree is deep."""

    def __init__(self, mix_isas: bool) -> None:
        self._mix_isas = mix_isas
        self._levels: list[_Part | None] = []
        self._shards: set[str] = set()

    def add(self, part: _Part) -> None:
        known = part.shards & self._shards
        if known == part.shards:
            return  # delivered twice
        if known:
            raise Error("internal", "shards", f"shards: {min(known)} came alone and with others")
        self._shards |= part.shards
        for level, waiting in enumerate(self._levels):
            if waiting is None:
                self._levels[level] = part
                return
            part = self._merge(waiting, part)
            self._levels[level] = None
        self._levels.append(part)

    def total(self) -> Statistics:
        parts = [part for part in self._levels if part is not None]
        if not parts:
            raise Error("bad_sample", "dataset", "dataset: it has no rows to calibrate with")
        merged = parts[0]
        for part in parts[1:]:
            merged = self._merge(merged, part)
        return merged.statistics

    def shards(self) -> set[str]:
        return self._shards

    def _merge(self, a: _Part, b: _Part) -> _Part:
        # Rows of a dataset may occur twice; that no shard does is what `shards` is for.
        statistics = _core.merge(a.statistics, b.statistics, mix_isas=self._mix_isas, same_samples=True)
        return _Part(a.shards | b.shards, statistics)


def _merge_states(states: pa.Table, mix_isas: bool) -> pa.Table:
    if states.num_rows == 0:
        return states
    tree = _Tree(mix_isas)
    try:
        for row in states.to_pylist():
            _raise_error(row)
            tree.add(_Part.of_row(row))
        return _Part.table([_Part(tree.shards(), tree.total())])
    except Error as error:
        return _Part.table([], error)


def _raise_error(row: Mapping[str, Any]) -> None:
    if row["error"] is not None:
        raise pickle.loads(row["error"])


def _merging_stages(workers: int) -> int:
    """So many that this process, which merges what is left, keeps up with any number of workers."""
    stages = 0
    while workers >= _FAN_IN:
        workers //= _FAN_IN
        stages += 1
    return stages


def _workers(workers: int | None, threads: int) -> int:
    if threads < 1:
        raise Error("bad_argument", "threads", f"threads: {threads}; a worker has at least one")
    if workers is None:
        if not ray.is_initialized():
            ray.init()
        return max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
    if workers < 1:
        raise Error("bad_argument", "workers", f"workers: {workers}; there is at least one")
    return workers


def _on_actors(
    dataset: ray.data.Dataset,
    work: type,
    arguments: tuple[Any, ...],
    workers: int,
    threads: int,
    ray_remote_args: Mapping[str, Any] | None,
) -> ray.data.Dataset:
    return dataset.map_batches(
        work,
        batch_size=None,  # a block as it is
        batch_format="numpy",
        fn_constructor_args=arguments,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=threads,
        **(ray_remote_args or {}),
    )
