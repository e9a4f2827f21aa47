"""Ctrl-C in the middle of native work: a KeyboardInterrupt soon, and everything still works afterwards."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import zeropoint as q


class Endless:
    """More samples than any test has time for."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"images": self.picture}


@contextmanager
def interrupted(seconds: float = 0.3) -> Iterator[None]:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        timer.cancel()


Work = Callable[[q.Model, Endless], object]
ENDLESS_WORK: dict[str, Work] = {
    "calibrate": lambda model, samples: q.calibrate(model, samples),
    "quantize": lambda model, samples: q.quantize(model, samples),
    "compare": lambda model, samples: q.compare(model, model, samples),
    "evaluate": lambda model, samples: q.evaluate(model, samples, labels=[0] * len(samples)),
    "sensitivity": lambda model, samples: q.sensitivity(model, samples),
    "quantize_within": lambda model, samples: q.quantize_within(model, samples, metric=lambda _: 1.0, max_drop=1),
}


@pytest.mark.parametrize("name", ENDLESS_WORK)
def test_work_on_endless_samples(dscnn: q.Model, pictures: np.ndarray, name: str):
    with interrupted():
        ENDLESS_WORK[name](dscnn, Endless(pictures[:1]))


@pytest.mark.parametrize("layers", [1, 3])
def test_later_stages(dscnn: q.Model, pictures: np.ndarray, layers: int):
    """The signal comes in the step that rounds weights layer by layer, and in the ranking of nodes."""
    samples = [{"images": picture[None]} for picture in pictures]
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if total != len(samples) and done >= layers:
            signal.raise_signal(signal.SIGINT)

    for work in (
        lambda: q.quantize(dscnn, samples, "static_w4a8", progress=progress),
        lambda: q.sensitivity(dscnn, samples, progress=progress),
    ):
        seen.clear()
        with pytest.raises(KeyboardInterrupt):
            work()
        assert seen[-1][0] >= layers


def test_a_search_stops_at_the_model_at_hand(dscnn: q.Model, pictures: np.ndarray):
    judged = []

    def metric(model: q.Model) -> float:
        judged.append(model)
        if len(judged) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return float(-len(judged))  # never good enough

    with pytest.raises(KeyboardInterrupt):
        q.quantize_within(dscnn, [{"images": picture[None]} for picture in pictures], metric=metric, max_drop=0.1)
    assert 2 <= len(judged) <= 3


def test_a_run_stops_between_steps():
    size, count = 1024, 400
    square = f"f32[{size},{size}]"
    text = f"ir_version 8\nopset 17\ngraph long(x: {square}, w: {square}) -> (y: {square}) {{\n"
    names = ["x", *(f"v{i}" for i in range(1, count)), "y"]
    for i, (source, target) in enumerate(itertools.pairwise(names)):
        text += f'  {target} = MatMul({source}, w) "product{i}"\n'
    session = q.Session(q.Model.from_text(text + "}\n"), threads=1, profile=True)
    feeds = {"x": np.zeros((size, size), np.float32), "w": np.zeros((size, size), np.float32)}
    with interrupted():
        session.run(None, feeds)
    steps = session.steps
    assert steps[0].seconds > 0 and steps[-1].seconds == 0


def test_a_session_goes_on_after_an_interrupt(dscnn: q.Model, pictures: np.ndarray):
    session = q.Session(dscnn, threads=1)
    (expected,) = session.run(None, {"images": pictures})
    with interrupted(0.05):
        while True:
            session.run(None, {"images": pictures})
    np.testing.assert_array_equal(session.run(None, {"images": pictures})[0], expected)


def test_what_the_handler_raises_is_raised(dscnn: q.Model, pictures: np.ndarray):
    class Stop(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Stop):
            q.calibrate(dscnn, Endless(pictures[:1]))
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)
