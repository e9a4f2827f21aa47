"""One exception type, with a code and a place."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import zeropoint as q


def error_of(source: object) -> q.Error:
    with pytest.raises(q.Error) as caught:
        q.load(source)
    return caught.value


def test_code_place_and_message(tmp_path: Path):
    error = error_of(tmp_path / "no.onnx")
    assert error.code == "io"
    assert "no.onnx" in error.where
    assert str(error).startswith(error.where + ": ") and "\n" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.where, str(again)) == (error.code, error.where, str(error))
    assert isinstance(error, Exception) and not isinstance(error, ValueError)


def test_bad_files(dscnn_path: Path, tmp_path: Path):
    whole = dscnn_path.read_bytes()
    assert error_of(b"not a model").code in ("bad_file", "bad_model")
    assert error_of(whole[: len(whole) // 2]).code in ("bad_file", "bad_model")
    assert error_of(b"").code in ("bad_file", "bad_model")
    (tmp_path / "text.onnx").write_text("hello")
    assert "text.onnx" in str(error_of(tmp_path / "text.onnx"))


def test_text_says_line_and_column():
    with pytest.raises(q.Error) as caught:
        q.Model.from_text("ir_version 8\nopset 17\ngraph g(x: f32[2]) -> (y: f32[2]) {\n  y = Relu(x\n}\n")
    assert (caught.value.code, caught.value.where) == ("bad_file", "line 5, column 1")
    with pytest.raises(q.Error) as caught:
        q.Model.from_text("ir_version 8\nopset 17\ngraph g(x: f32[2]) -> (y: f32[2]) {\n  y = Relu(z)\n}\n")
    assert caught.value.code == "bad_model" and "z" in str(caught.value)


def test_unknown_operator_is_named():
    model = q.Model.from_text(
        'ir_version 8\nopset 17\ngraph g(x: f32[2]) -> (y: f32[2]) {\n  y = Frobnicate(x) "odd one"\n}\n'
    )
    with pytest.raises(q.Error, match=r"odd one.*Frobnicate|Frobnicate.*odd one") as caught:
        q.Session(model)
    assert caught.value.code == "unsupported"


def test_every_step_names_the_file(tmp_path: Path):
    """The types don't show it, the shapes do: reading is not enough to find out."""
    text = "ir_version 8\nopset 17\ngraph g(x: f32[2,3]) -> (y) {\n  y = Transpose(x) {perm=[0, 0]}\n}\n"
    path = tmp_path / "crossed.onnx"
    q.Model.from_text(text).save(path)
    model = q.load(path)
    for step in (lambda: q.Session(model), lambda: q.Session(path), lambda: q.quantize(model, recipe="dynamic_w8a8")):
        with pytest.raises(q.Error, match="Transpose") as caught:
            step()
        assert caught.value.where.startswith(str(path))
        assert str(caught.value).count("crossed.onnx") == 1


def test_a_failed_save_leaves_the_old_file(small: q.Model, tmp_path: Path):
    with pytest.raises(q.Error) as caught:
        small.save(tmp_path / "missing" / "m.onnx")
    assert caught.value.code == "io"
    small.save(tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "full").symlink_to("/dev/full")
    small.save(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == before
