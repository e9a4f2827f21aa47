"""Calibration and the stages behind it, one by one."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import zeropoint as q

Sample = dict[str, np.ndarray]


@pytest.fixture
def samples() -> list[Sample]:
    generator = np.random.default_rng(11)
    return [{"x": generator.standard_normal((1, 2), dtype=np.float32)} for _ in range(40)]


class Lazy:
    """A sequence whose items are made when asked for."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples
        self.threads: set[int] = set()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        self.threads.add(threading.get_ident())
        return {"x": self.samples[index]["x"].copy()}


def test_what_is_seen(small: q.Model, samples: list[Sample]):
    statistics = q.calibrate(small, samples)
    x = np.concatenate([sample["x"] for sample in samples])
    assert set(statistics) == set(statistics.keys()) == {"x", "scaled", "y"} and len(statistics) == 3
    seen = statistics["x"]
    assert (statistics.samples, seen.samples, seen.count, seen.nans) == (40, 40, 80, 0)
    assert (seen.min, seen.max) == (x.min(), x.max())
    assert seen.mean_max == pytest.approx(x.max(axis=1).mean(), rel=1e-6)
    assert seen.quantile(0.5) == pytest.approx(np.median(x), abs=0.1)
    low, high, count = seen.histogram()
    assert count.sum() == 80 and (low <= high).all() and low[0] == seen.min and high[-1] == seen.max
    assert "x" in statistics and "z" not in statistics
    with pytest.raises(KeyError):
        statistics["z"]
    assert "40 samples" in repr(statistics) and "x" in str(statistics)
    assert statistics.complete


def test_every_source_gives_the_same(small: q.Model, samples: list[Sample], tmp_path: Path):
    expected = q.calibrate(small, samples)
    lazy = Lazy(samples)
    assert q.calibrate(small, lazy, threads=2) == expected
    assert lazy.threads
    assert q.calibrate(small, iter(samples)) == expected
    assert q.calibrate(small, (sample for sample in samples)) == expected
    assert q.calibrate(small, samples[::-1], threads=1) == expected
    assert q.calibrate(small, [{"x": np.asfortranarray(s["x"].astype(np.float64))} for s in samples]) == expected
    np.savez(tmp_path / "samples.npz", x=np.concatenate([sample["x"] for sample in samples]))
    assert q.calibrate(small, tmp_path / "samples.npz") == expected
    opened = q.open_samples(tmp_path / "samples.npz", small)
    assert len(opened) == 40 and opened.labels == [None] * 40
    np.testing.assert_array_equal(opened[-1]["x"], samples[-1]["x"])
    with pytest.raises(IndexError):
        opened[40]
    assert q.calibrate(small, opened) == expected


def test_round_trip_and_merge(small: q.Model, samples: list[Sample], tmp_path: Path):
    whole = q.calibrate(small, samples)
    whole.save(tmp_path / "all.stats")
    assert q.load_statistics(tmp_path / "all.stats") == whole == q.load_statistics(whole.to_bytes())
    assert pickle.loads(pickle.dumps(whole)).hash == whole.hash
    shards = [q.calibrate(small, samples, shard=i, shards=3) for i in range(3)]
    assert not shards[0].complete
    assert q.merge(shards[2], shards[0], shards[1]) == whole
    with pytest.raises(q.Error) as caught:
        q.merge(whole, whole)
    assert caught.value.code == "mismatch"
    with pytest.raises(q.Error) as caught:
        q.load_statistics(b"nothing of the kind")
    assert caught.value.code == "bad_file"


def test_stages(small: q.Model, samples: list[Sample]):
    recipe = q.recipes.static_w8a8()
    graph = q.fuse(small)
    statistics = q.calibrate(graph, samples, recipe)
    qparams = q.choose_qparams(graph, statistics, recipe)
    assert all(isinstance(each, q.QParams) for each in qparams.values())
    assert pickle.loads(pickle.dumps(qparams)) == qparams
    qdq = q.insert_qdq(graph, qparams)
    kinds = [node.op_type for node in qdq.nodes]
    assert kinds.count("QuantizeLinear") == len([name for name in qparams if name not in graph.constants])


def test_qparams():
    one = q.QParams("uint8", 0.5, 3)
    assert (one.dtype, one.scale.tolist(), one.zero_point.tolist(), one.granularity) == (
        "uint8",
        [0.5],
        [3],
        q.PerTensor(),
    )
    assert repr(one) == "QParams('uint8', 0.5, 3)"
    many = q.QParams("int8", np.float32([0.5, 0.25]), granularity=q.PerChannel(axis=0))
    assert many.zero_point.tolist() == [0, 0] and many != one
    assert eval(repr(many), vars(q)) == many
    narrow = q.QParams("uint8", 0.5, 3, bits=4)
    assert narrow.bits == 4 and one.bits == 0 and narrow != one
    assert eval(repr(narrow), vars(q)) == narrow
    for each in (one, many, narrow, q.QParams("int4", [0.5], granularity=q.PerGroup(axis=0, size=16))):
        assert pickle.loads(pickle.dumps(each)) == each
    with pytest.raises(q.Error):
        q.QParams("int8", [1, 2, 3], [0, 0])
    with pytest.raises(q.Error, match="known are"):
        q.QParams("byte", 1)


def test_progress_is_told_to_the_callers_thread(small: q.Model, samples: list[Sample]):
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        calls.append((done, total))

    q.calibrate(small, samples, progress=progress)
    assert calls[-1] == (40, 40) and calls == sorted(calls)


def test_exceptions_of_callbacks_come_through(small: q.Model, samples: list[Sample]):
    class Broken(Lazy):
        def __getitem__(self, index: int) -> Sample:
            if index == 7:
                raise ZeroDivisionError("seven")
            return super().__getitem__(index)

    with pytest.raises(ZeroDivisionError, match="seven"):
        q.calibrate(small, Broken(samples))

    def progress(done: int, total: int) -> None:
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        q.calibrate(small, samples, progress=progress)

    def generator() -> Iterator[Sample]:
        yield samples[0]
        raise ZeroDivisionError("later")

    with pytest.raises(ZeroDivisionError, match="later"):
        q.calibrate(small, generator())


def test_control_c(small: q.Model, samples: list[Sample]):
    class Endless(Lazy):
        def __len__(self) -> int:
            return 10**6

        def __getitem__(self, index: int) -> Sample:
            if index == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__getitem__(index % 40)

    with pytest.raises(KeyboardInterrupt):
        q.calibrate(small, Endless(samples))


def test_bad_samples(small: q.Model, samples: list[Sample]):
    def error(bad: object, **options: object) -> q.Error:
        with pytest.raises(q.Error) as caught:
            q.calibrate(small, bad, **options)
        return caught.value

    x = samples[0]["x"]
    assert error([]).code == "bad_sample"
    missing = error([samples[0], {}])
    assert missing.code == "bad_sample" and "sample 1" in str(missing) and "'x'" in str(missing)
    assert "'z'" in str(error([{"x": x, "z": x}]))
    assert "[1,3]" in str(error([samples[0], {"x": np.zeros((1, 3), np.float32)}]))
    infinite = error([*samples, {"x": np.float32([[np.inf, 0]])}])
    assert infinite.code == "non_finite" and "40" in str(infinite)
    assert error("/no/such/place").code == "io"
    assert error(samples, values=["nothing"]).code == "bad_argument"
    with pytest.raises(TypeError, match=r"write \[sample\]"):
        q.calibrate(small, samples[0])
    with pytest.raises(TypeError, match="mapping"):
        q.calibrate(small, [x])
    with pytest.raises(TypeError):
        q.calibrate(small, 5)
