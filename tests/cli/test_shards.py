"""calibrate --shard I/N on any scheduler, and merge: the file of one run, byte for byte."""

import os
import pathlib
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ZEROPOINT = pathlib.Path(os.environ.get("ZEROPOINT", ROOT / "build/release/zeropoint"))
MODEL = ROOT / "tests/data/fmnist_dscnn.onnx"
SHARDS = 3


def run(*arguments):
    return subprocess.run([ZEROPOINT, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """all.stats of one run, and 1.stats ... of its shards."""
    folder = tmp_path_factory.mktemp("shards")
    pictures = np.random.default_rng(0).normal(size=(11, 1, 28, 28)).astype(np.float32)
    pictures[4:8] = pictures[:4]  # equal samples in shards of their own
    np.savez(folder / "samples.npz", images=pictures)
    common = ("calibrate", MODEL, "--data", folder / "samples.npz", "--quiet")
    assert run(*common, "-o", folder / "all.stats", "--threads", 2).returncode == 0
    for i in range(1, SHARDS + 1):
        done = run(*common, "-o", folder / f"{i}.stats", "--shard", f"{i}/{SHARDS}", "--threads", 1)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_merged_shards_are_one_run(folder, order):
    merged = folder / "merged.stats"
    done = run("merge", *(folder / f"{i}.stats" for i in order), "-o", merged)
    assert done.returncode == 0, done.stderr
    assert merged.read_bytes() == (folder / "all.stats").read_bytes()


def test_in_a_tree(folder):
    assert run("merge", folder / "3.stats", folder / "1.stats", "-o", folder / "some.stats").returncode == 0
    assert run("merge", folder / "some.stats", folder / "2.stats", "-o", folder / "tree.stats").returncode == 0
    assert (folder / "tree.stats").read_bytes() == (folder / "all.stats").read_bytes()


def test_what_is_missing_or_twice_is_said(folder):
    done = run("merge", folder / "1.stats", folder / "3.stats", "-o", folder / "part.stats")
    assert done.returncode == 0 and "parts of the set are missing" in done.stdout
    done = run("merge", folder / "1.stats", folder / "1.stats", "-o", folder / "twice.stats")
    assert done.returncode == 2 and "merge each shard once" in done.stderr
    assert not (folder / "twice.stats").exists()
    from_one, from_shards = folder / "one.onnx", folder / "shards.onnx"
    for statistics, output in ((folder / "all.stats", from_one), (folder / "tree.stats", from_shards)):
        done = run("quantize", MODEL, "-o", output, "--statistics", statistics, "--quiet")
        assert done.returncode == 0, done.stderr
    assert from_shards.read_bytes() == from_one.read_bytes()
