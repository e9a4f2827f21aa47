"""Inference: against ONNX Runtime, without copies, from several threads, with bad inputs."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import zeropoint as q
from zeropoint import _core


def test_float_model_against_onnxruntime(dscnn_path: Path, pictures: np.ndarray):
    expected = onnxruntime.InferenceSession(dscnn_path).run(None, {"images": pictures})
    session = q.Session(dscnn_path)
    result = session.run(None, {"images": pictures})
    assert len(result) == len(expected)
    for ours, theirs in zip(result, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    assert session.integer_coverage == 0


def test_results_do_not_depend_on_threads_or_batch(dscnn: q.Model, pictures: np.ndarray):
    (together,) = q.Session(dscnn, threads=1).run(None, {"images": pictures})
    (threaded,) = q.Session(dscnn, threads=2).run(None, {"images": pictures})
    np.testing.assert_allclose(threaded, together, rtol=1e-5, atol=1e-5)
    session = q.Session(dscnn)
    for i, picture in enumerate(pictures):
        (alone,) = session.run(None, {"images": picture[None]})
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-4, atol=1e-4)


def test_names_and_order_of_outputs(small: q.Model):
    model = q.Model.from_text(
        small.text()
        .replace("(y: f32[N,2])", "(y: f32[N,2], scaled: f32[N,2])")
        .replace("  scaled: f32[N,2] =", "  scaled =")
    )
    session = q.Session(model)
    assert [output.name for output in session.outputs] == ["y", "scaled"]
    x = np.float32([[1, 2], [-3, 4]])
    scaled = x * np.float32([0.5, -2])
    for names, expected in [
        (None, [np.maximum(scaled, 0), scaled]),
        (["scaled"], [scaled]),
        (["scaled", "y", "scaled"], [scaled, np.maximum(scaled, 0), scaled]),
        ([], []),
    ]:
        result = session.run(names, {"x": x})
        assert len(result) == len(expected)
        for ours, theirs in zip(result, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    first, _, third = session.run(["scaled", "y", "scaled"], {"x": x})
    first[:] = 0
    np.testing.assert_array_equal(third, scaled)
    with pytest.raises(q.Error, match=r"'z'.*'y', 'scaled'"):
        session.run(["z"], {"x": x})
    with pytest.raises(TypeError, match="list of names"):
        session.run("y", {"x": x})


def test_inputs_and_outputs_are_described(small: q.Model):
    session = q.Session(small)
    assert [(v.name, v.dtype, v.shape) for v in session.inputs] == [("x", "float32", ["N", 2])]
    assert repr(session.inputs[0]) == "ValueInfo(name='x', dtype='float32', shape=['N', 2])"
    assert session.inputs == small.inputs
    assert "x: f32[N,2]" in repr(session)
    assert [step.op for step in session.steps]
    assert session.explain().strip()


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_inputs_are_not_copied():
    x = np.zeros((4, 5), np.float32)
    assert _core._addresses({"x": x}) == {"x": address(x)}
    assert _core._addresses({"x": x[2:]}) == {"x": address(x) + 2 * 5 * 4}
    x.flags.writeable = False
    assert _core._addresses({"x": x}) == {"x": address(x)}
    assert _core._addresses({"x": x.T})["x"] != address(x)  # not C-contiguous
    assert _core._addresses({"x": memoryview(x)}) == {"x": address(x)}


def test_outputs_are_not_copied(small: q.Model):
    (y,) = q.Session(small).run(None, {"x": np.ones((3, 2), np.float32)})
    assert not y.flags.owndata and y.flags.writeable and y.flags.c_contiguous
    assert y.base is not None  # the tensor that owns the memory
    y[:] = 5  # and nobody else's


def test_an_output_is_never_the_input_or_a_weight():
    text = "ir_version 8\nopset 17\ngraph g(x: f32[2]) -> (y: f32[2], c: f32[2]) {\n"
    text += "  c = f32[2]{1, 2}\n  y = Identity(x)\n}\n"
    session = q.Session(q.Model.from_text(text))
    x = np.float32([3, 4])
    y, c = session.run(None, {"x": x})
    y[:] = 0
    c[:] = 0
    assert x.tolist() == [3, 4]
    assert [array.tolist() for array in session.run(None, {"x": x})] == [[3, 4], [1, 2]]


def test_strided_and_foreign_arrays(small: q.Model):
    session = q.Session(small)
    wide = np.arange(12, dtype=np.float32).reshape(3, 4)
    (expected,) = session.run(None, {"x": np.ascontiguousarray(wide[:, ::2])})
    np.testing.assert_array_equal(session.run(None, {"x": wide[:, ::2]})[0], expected)
    np.testing.assert_array_equal(session.run(None, {"x": torch.from_numpy(wide)[:, ::2].contiguous()})[0], expected)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.float16, np.uint8, np.complex64, ">f4", bool])
def test_other_element_types_are_refused(small: q.Model, dtype: str):
    with pytest.raises(TypeError, match=r"input 'x' is .*, wanted is float32.*astype\(\"float32\"\)"):
        q.Session(small).run(None, {"x": np.zeros((1, 2), dtype)})


def test_bad_feeds(small: q.Model):
    session = q.Session(small)
    x = np.ones((1, 2), np.float32)
    for feeds, part in [
        ({}, "x"),
        ({"x": x, "z": x}, "z"),
        ({"x": np.ones((1, 3), np.float32)}, "x"),
        ({"x": x[0]}, "x"),
    ]:
        with pytest.raises(q.Error, match=part) as caught:
            session.run(None, feeds)
        assert caught.value.code == "bad_sample"
    with pytest.raises(TypeError, match="mapping"):
        session.run(None, [x])
    (y,) = session.run(None, {"x": x})  # it still works
    assert y.tolist() == [[0.5, 0]]


def test_element_types_of_numpy():
    types = {
        "f32": np.float32,
        "f64": np.float64,
        "s64": np.int64,
        "s32": np.int32,
        "s8": np.int8,
        "u8": np.uint8,
        "b8": np.bool_,
    }
    for code, dtype in types.items():
        text = f"ir_version 8\nopset 17\ngraph g(x: {code}[3]) -> (y: {code}[1,3]) {{\n"
        text += "  axes = s64[1]{0}\n  y = Unsqueeze(x, axes)\n}\n"
        model = q.Model.from_text(text)
        x = np.array([0, 1, 1], dtype)
        (y,) = q.Session(model).run(None, {"x": x})
        assert y.dtype == dtype and y.tolist() == [x.tolist()]


def test_two_sessions_on_two_threads(dscnn: q.Model, pictures: np.ndarray):
    expected = [q.Session(dscnn, threads=1).run(None, {"images": p[None]})[0] for p in pictures]
    wrong: list[str] = []

    def work() -> None:
        session = q.Session(dscnn, threads=1)
        for _ in range(5):
            for picture, result in zip(pictures, expected, strict=True):
                if not np.array_equal(session.run(None, {"images": picture[None]})[0], result):
                    wrong.append("another result")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_session_on_four_threads(dscnn: q.Model, pictures: np.ndarray):
    session = q.Session(dscnn, threads=1)
    expected = [session.run(None, {"images": p[None]})[0] for p in pictures]
    results: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        for _ in range(5):
            (results[i],) = session.run(None, {"images": pictures[i][None]})

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, result in results.items():
        np.testing.assert_array_equal(result, expected[i])


def test_run_lets_other_threads_work(dscnn: q.Model):
    """While one thread is inside run(), another counts."""
    session = q.Session(dscnn, threads=1)
    batch = np.zeros((256, 1, 28, 28), np.float32)
    running = threading.Event()
    finished = threading.Event()

    def work() -> None:
        running.set()
        session.run(None, {"images": batch})
        finished.set()

    thread = threading.Thread(target=work)
    thread.start()
    running.wait()
    count = 0
    while not finished.is_set():
        count += 1
    thread.join()
    assert count > 1000  # with the lock held all the time it would be a handful


def test_options(small: q.Model):
    x = np.float32([[1, -1]])
    for isa in q.instruction_sets():
        assert q.Session(small, max_isa=isa).run(None, {"x": x})[0].tolist() == [[0.5, 2]]
    with pytest.raises(q.Error, match="sse9"):
        q.Session(small, max_isa="sse9")
    assert q.Session(small, shapes={"x": [1, 2]}).run(None, {"x": x})[0].tolist() == [[0.5, 2]]
    session = q.Session(small, profile=True)
    session.run(None, {"x": x})
    assert sum(step.seconds for step in session.steps) > 0
    with pytest.raises(TypeError):
        q.Session(small, 4)  # options have names


def test_autotune_never_changes_a_result(pictures: np.ndarray, tmp_path: Path):
    model = q.load(Path(__file__).parents[2] / "tests/data/quantized/fmnist_dscnn.static.onnx")
    shapes = {"images": pictures.shape}
    (expected,) = q.Session(model, threads=1).run(None, {"images": pictures})
    for _ in range(2):  # measured, then from the file
        session = q.Session(model, threads=1, shapes=shapes, autotune=True, tuning_cache=tmp_path / "cache")
        (actual,) = session.run(None, {"images": pictures})
        np.testing.assert_array_equal(actual, expected)
        assert "autotuned: " in session.explain()
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert "autotuned" not in q.Session(model, threads=1).explain()


def test_sessions_of_one_model_share_weights(pictures: np.ndarray):
    model = q.load(Path(__file__).parents[2] / "tests/data/quantized/fmnist_dscnn.static.onnx")
    first = q.Session(model, threads=1)
    (expected,) = first.run(None, {"images": pictures})
    weights = first.weight_bytes
    second = q.Session(model, threads=1, share_weights_with=first)
    del first
    np.testing.assert_array_equal(second.run(None, {"images": pictures})[0], expected)
    assert second.weight_bytes == weights


def test_tensors_of_other_libraries_are_not_copied():
    x = torch.zeros(4, 5)
    assert _core._addresses({"x": x, "rest": x[2:]}) == {"x": x.data_ptr(), "rest": x.data_ptr() + 2 * 5 * 4}
    half = torch.zeros(4, 5, dtype=torch.bfloat16)  # which NumPy does not have
    assert _core._addresses({"x": half}) == {"x": half.data_ptr()}
    assert _core._addresses({"x": x.T})["x"] != x.data_ptr()


def test_results_for_other_libraries_are_not_copied(small: q.Model):
    session = q.Session(small)
    x = torch.tensor([[1.0, 2.0], [-3.0, 4.0]])
    (result,) = session.run_dlpack(["y"], {"x": x})
    y, same = torch.from_dlpack(result), np.from_dlpack(result)
    assert y.data_ptr() == address(same)
    expected = session.run(None, {"x": x})[0].tolist()
    del session, result, same
    assert y.tolist() == expected
    y[:] = 7  # its own memory
    assert x.tolist() == [[1, 2], [-3, 4]]


def test_bfloat16_in_and_out_of_torch():
    text = "ir_version 8\nopset 17\ngraph g(x: bf16[3]) -> (y: bf16[1,3]) {\n"
    session = q.Session(q.Model.from_text(text + "  axes = s64[1]{0}\n  y = Unsqueeze(x, axes)\n}\n"))
    x = torch.tensor([1.5, -2.0, 3e38], dtype=torch.bfloat16)
    (y,) = session.run_dlpack(None, {"x": x})
    assert torch.equal(torch.from_dlpack(y), x[None])
    (array,) = session.run(None, {"x": x})
    assert array.dtype.name == "bfloat16" and array.astype(np.float32).tolist() == x[None].tolist()


def test_tensors_that_do_not_fit(small: q.Model):
    session = q.Session(small)
    with pytest.raises(TypeError, match="input 'x' is float64, wanted is float32"):
        session.run(None, {"x": torch.zeros(1, 2, dtype=torch.float64)})
    assert session.run(None, {"x": torch.ones(1, 2, requires_grad=True)})[0].tolist() == [[0.5, 0]]
    with pytest.raises(TypeError):
        session.run(None, {"x": torch.zeros(1, 2, device="meta")})
