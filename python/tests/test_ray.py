"""zeropoint.ray on four local workers: the bytes of one process, also when a worker is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

import zeropoint as q
from zeropoint import ray as zr

WORKERS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # Workers are logical: they share the machine's cores. What they log is shown where a test fails.
    ray.init(num_cpus=WORKERS, include_dashboard=False, object_store_memory=100 << 20, logging_level="warning")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """The first eight occur twice, as two equal shards."""
    random = np.random.default_rng(3).standard_normal((96, 1, 28, 28), dtype=np.float32)
    return np.concatenate([random[:8], random])


def dataset_of(columns: dict[str, np.ndarray]) -> ray.data.Dataset:
    """In blocks of eight rows."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return ray.data.from_items(rows, override_num_blocks=len(rows) // 8)


def as_samples(pictures: np.ndarray) -> list[dict[str, np.ndarray]]:
    return [{"images": picture[None]} for picture in pictures]


def test_statistics_are_those_of_one_process(
    cluster: None, dscnn: q.Model, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    fused, recipe = q.fuse(dscnn), q.recipes.static_w8a8()
    expected = q.calibrate(fused, as_samples(pictures), recipe)
    monkeypatch.setattr(zr, "_FAN_IN", 4)  # so that states are merged on the way, too
    assert zr._merging_stages(WORKERS) == 1
    dataset = dataset_of({"images": pictures, "number": np.arange(len(pictures))})
    seen = zr.calibrate(fused, dataset, recipe, workers=WORKERS)
    assert seen.samples == len(pictures) and seen.complete
    assert seen.to_bytes() == expected.to_bytes()


def test_a_lost_worker_counts_once(cluster: None, dscnn: q.Model, pictures: np.ndarray, tmp_path: Path):
    fused, recipe = q.fuse(dscnn), q.recipes.static_w8a8()
    killed = tmp_path / "killed"

    def die_once(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs in the worker, which is killed in the middle of the set while it has this block."""
        if (columns["number"] == 50).any() and not killed.exists():
            assert ray.get_runtime_context().get_actor_id(), "a plain task runs this, not the worker"
            killed.touch()
            os.kill(os.getpid(), 9)
        return columns

    dataset = dataset_of({"images": pictures, "number": np.arange(len(pictures))}).map_batches(
        die_once, batch_size=None, batch_format="numpy"
    )
    seen = zr.calibrate(fused, dataset, recipe, workers=WORKERS)
    assert killed.exists()
    assert seen.samples == len(pictures)
    assert seen.to_bytes() == q.calibrate(fused, as_samples(pictures), recipe).to_bytes()


def test_evaluate(cluster: None, dscnn: q.Model, pictures: np.ndarray):
    labels = np.random.default_rng(4).integers(0, 10, len(pictures))
    expected = q.evaluate(dscnn, as_samples(pictures), labels=labels.tolist())
    assert 0 < expected.top1 < expected.top5 < 1
    dataset = dataset_of({"images": pictures, "class": labels})
    assert zr.evaluate(dscnn, dataset, label="class", workers=1) == expected
    with pytest.raises(q.Error, match="no column 'label'"):
        zr._EvaluateShard.labels_of({"class": labels}, "label")


def test_errors_come_from_the_workers(cluster: None, dscnn: q.Model, pictures: np.ndarray):
    infinite = pictures[:16].copy()
    infinite[3, 0, 0, 0] = np.inf
    with pytest.raises(q.Error) as caught:
        zr.calibrate(dscnn, dataset_of({"images": infinite}), workers=1)
    assert caught.value.code == "non_finite" and "sample 3" in caught.value.where


def test_rows_become_samples(small: q.Model):
    block = zr._Block({"x": np.float32([[1, 2], [3, 4]]), "label": np.int64([0, 1])}, small)
    assert len(block) == 2 and set(block[1]) == {"x"}
    np.testing.assert_array_equal(block[1]["x"], [[3, 4]])
    with_batch = zr._Block({"x": np.float32([[[1, 2]], [[3, 4]]])}, small)
    np.testing.assert_array_equal(with_batch[1]["x"], [[3, 4]])
    with pytest.raises(q.Error, match=r"no column for the input 'x'; it has 'y'"):
        zr._Block({"y": np.float32([[1, 2]])}, small)


@pytest.mark.parametrize("call", [zr.calibrate, zr.evaluate])
def test_arguments(call: Callable[..., object], dscnn: q.Model, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray, "put", lambda _: pytest.fail("the model was stored before the arguments were checked"))
    for options in ({"threads": 0}, {"workers": 0}, {"max_isa": "nothing"}):
        with pytest.raises(q.Error) as caught:
            call(dscnn, None, **options)
        assert caught.value.code == "bad_argument", options


def test_shards_count_once(small: q.Model):
    first = [{"x": np.float32([[1, 2]])}]
    second = [{"x": np.float32([[3, -4]])}, {"x": np.float32([[1, 2]])}]
    calibrator = q.Calibrator(small)
    a, b = (calibrator.calibrate(samples) for samples in (first, second))
    tree = zr._Tree(mix_isas=False)
    for _ in range(3):
        tree.add(zr._Part({"a"}, a))
    tree.add(zr._Part({"b"}, b))
    tree.add(zr._Part({"a", "b"}, b))
    assert tree.total() == q.calibrate(small, first + second)
    tree.add(zr._Part({"c"}, a))  # equal contents, another shard
    assert tree.total() == q.calibrate(small, first + second + first)
    with pytest.raises(q.Error, match="alone and with others"):
        tree.add(zr._Part({"c", "d"}, a))
    with pytest.raises(q.Error, match="no rows"):
        zr._Tree(mix_isas=False).total()


def test_without_ray():
    code = "import sys; sys.modules['ray'] = None\nimport zeropoint\nimport zeropoint.ray"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: zeropoint.ray needs Ray Data: pip install zeropoint[ray]" in done.stderr


def test_calibrator_and_evaluator(small: q.Model):
    samples = [{"x": np.float32([[i, -i]])} for i in range(6)]
    calibrator = q.Calibrator(small, threads=1)
    parts = [calibrator.calibrate(samples[i::2]) for i in range(2)]
    assert q.merge(*parts) == q.calibrate(small, samples)
    assert q.merge(parts[0], parts[0], same_samples=True) == q.calibrate(small, 2 * samples[::2])
    with pytest.raises(q.Error, match="same samples"):
        q.merge(parts[0], parts[0])
    with pytest.raises(ZeroDivisionError):
        calibrator.calibrate(1 / 0 for _ in range(1))
    evaluator = q.Evaluator(small)
    assert evaluator.evaluate(samples, labels=[0] * 6) == q.evaluate(small, samples, labels=[0] * 6)
