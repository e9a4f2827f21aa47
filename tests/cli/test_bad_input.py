"""What goes wrong gets one clear line on standard error, exit code 2, and leaves existing outputs as they were."""

import json
import os
import pathlib
import resource
import signal
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
ZEROPOINT = pathlib.Path(os.environ.get("ZEROPOINT", ROOT / "build/release/zeropoint"))
MODEL = ROOT / "tests/data/fmnist_dscnn.onnx"


def run(*arguments, **keywords):
    return subprocess.run([ZEROPOINT, *map(str, arguments)], capture_output=True, text=True, timeout=120, **keywords)


def refuse(*arguments, says=(), code=2, **keywords):
    """Runs and expects a refusal whose one line holds every text of `says`."""
    result = run(*arguments, **keywords)
    assert result.returncode == code, result.stdout + result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("zeropoint: error: "), result.stderr
    for text in says:
        assert str(text) in lines[0], f"{text!r} is not in {lines[0]!r}"


@pytest.fixture
def samples(tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        np.savez(folder / f"{i}.npz", images=rng.normal(size=(1, 1, 28, 28)).astype(np.float32))
    return folder


@pytest.fixture
def output(tmp_path):
    """An older output that must survive."""
    path = tmp_path / "out.onnx"
    path.write_text("precious")
    yield path
    assert path.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out.onnx")) == ["out.onnx"], (
        "a partial file was left"
    )


def tiny(nodes, initializers=(), inputs=("x",), outputs=("y",), dims=(1, 4)):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(i, TensorProto.FLOAT, dims) for i in inputs],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantize(model, samples, output, *more):
    return ("quantize", model, "-o", output, "--data", samples, *more)


def test_usage_errors():
    refuse(says=["subcommand is required", "--help"])
    refuse("frobnicate", says=["--help"])
    refuse("quantize", MODEL, says=["--output", "zeropoint quantize --help"])
    refuse("run", MODEL, "--threads", "many", says=["--threads"])
    refuse("bench", MODEL, "--max-isa", "avx1024", says=["--max-isa", "avx1024", "this machine has"])
    assert run("--help").returncode == 0
    assert run("quantize", "--help").returncode == 0
    assert run("--version").stdout.startswith("zeropoint ")


def test_missing_and_foreign_files(tmp_path, samples, output):
    refuse(*quantize(tmp_path / "absent.onnx", samples, output), says=["absent.onnx", "No such file"])
    refuse(*quantize(tmp_path, samples, output), says=[tmp_path, "folder"])
    text = tmp_path / "text.onnx"
    text.write_text("this is not a model\n" * 50)
    refuse(*quantize(text, samples, output), says=["text.onnx"])
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    refuse(*quantize(empty, samples, output), says=["empty.onnx"])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_model(tmp_path, samples, output, share):
    data = MODEL.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    refuse(*quantize(path, samples, output), says=["cut.onnx"])


def test_dangling_input_and_cycle(tmp_path, samples, output):
    path = tmp_path / "m.onnx"
    onnx.save(tiny([helper.make_node("Add", ["x", "nowhere"], ["y"], name="adder")]), path)
    refuse(*quantize(path, samples, output), says=["m.onnx", "nowhere", "adder"])
    onnx.save(
        tiny(
            [
                helper.make_node("Add", ["x", "b"], ["a"], name="first"),
                helper.make_node("Relu", ["a"], ["b"], name="second"),
                helper.make_node("Relu", ["b"], ["y"]),
            ]
        ),
        path,
    )
    refuse(*quantize(path, samples, output), says=["m.onnx", "cycle"])


def test_samples_of_wrong_shape_type_or_name(tmp_path, samples, output):
    bad = samples / "9.npz"
    np.savez(bad, images=np.zeros((1, 1, 28, 27), np.float32))
    refuse(*quantize(MODEL, samples, output), says=["9.npz", "images", "28,27"])
    np.savez(bad, images=np.zeros((1, 1, 28, 28), np.complex64))
    refuse(*quantize(MODEL, samples, output), says=["9.npz"])
    np.savez(bad, pictures=np.zeros((1, 1, 28, 28), np.float32))
    refuse(*quantize(MODEL, samples, output), says=["9.npz", "images"])
    bad.write_bytes(b"PK\x03\x04 nonsense")
    refuse(*quantize(MODEL, samples, output), says=["9.npz"])
    np.savez(bad, images=np.full((1, 1, 28, 28), np.nan, np.float32))
    refuse(*quantize(MODEL, samples, output), says=["9.npz", "images"])


def test_empty_calibration_set(tmp_path, output):
    empty = tmp_path / "empty"
    empty.mkdir()
    refuse(*quantize(MODEL, empty, output), says=["empty"])
    refuse(*quantize(MODEL, tmp_path / "absent", output), says=["absent"])


def test_feeds_of_run(tmp_path):
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    np.save(good, np.zeros((1, 1, 28, 28), np.float32))
    np.save(bad, np.zeros((3, 28, 28), np.float32))
    assert run("run", MODEL, "--input", f"images={good}").returncode == 0
    refuse("run", MODEL, says=["input 'images'", "missing"])
    refuse("run", MODEL, "--input", f"images={good}", "--input", f"more={good}", says=["input 'more'", "no such input"])
    refuse("run", MODEL, "--input", f"images={bad}", says=["bad.npy"])
    refuse("run", MODEL, "--input", "images", says=["NAME=FILE.npy"])


def test_nan_in_weights_and_activations(tmp_path, output):
    path, samples = tmp_path / "m.onnx", tmp_path / "samples"
    samples.mkdir()
    np.savez(samples / "0.npz", x=np.zeros((1, 4), np.float32))
    weights = np.ones((4, 4), np.float32)
    weights[1, 2] = np.nan
    onnx.save(
        tiny([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], [numpy_helper.from_array(weights, "w")]),
        path,
    )
    refuse(*quantize(path, samples, output), says=["product"])
    onnx.save(
        tiny(
            [
                helper.make_node("Log", ["x"], ["l"], name="logarithm"),
                helper.make_node("MatMul", ["l", "w"], ["y"], name="product"),
            ],
            [numpy_helper.from_array(np.ones((4, 4), np.float32), "w")],
        ),
        path,
    )
    refuse(*quantize(path, samples, output), says=["logarithm", "0.npz"])


def test_unknown_operator_that_must_run(tmp_path, output):
    path, samples = tmp_path / "m.onnx", tmp_path / "samples"
    samples.mkdir()
    np.savez(samples / "0.npz", x=np.zeros((1, 4), np.float32))
    model = tiny(
        [
            helper.make_node("Frobnicate", ["x"], ["f"], name="odd", domain="my.company"),
            helper.make_node("MatMul", ["f", "w"], ["y"]),
        ],
        [numpy_helper.from_array(np.ones((4, 4), np.float32), "w")],
    )
    model.graph.value_info.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, (1, 4)))
    model.opset_import.append(helper.make_opsetid("my.company", 1))
    onnx.save(model, path)
    refuse(*quantize(path, samples, output), says=["odd", "Frobnicate"])
    refuse("run", path, "--random", says=["odd", "Frobnicate"])
    assert "Frobnicate" in run("inspect", path).stdout


@pytest.mark.parametrize(
    ("recipe", "pointer"),
    [
        ("{", "line 1"),
        ({"rules": 3}, "/rules"),
        ({"rules": [{"op_type": "Conv", "weight": {"dtype": "s9"}}]}, "/rules/0/weight/dtype"),
        ({"rules": [{"op_type": "Conv", "colour": "red"}]}, "/rules/0/colour"),
        ({"rules": [{"scope": "(", "op_type": "Conv"}]}, "/rules/0/scope"),
    ],
)
def test_bad_recipes(tmp_path, samples, output, recipe, pointer):
    path = tmp_path / "recipe.json"
    path.write_text(recipe if isinstance(recipe, str) else json.dumps(recipe))
    refuse(*quantize(MODEL, samples, output, "--recipe", path), says=["recipe.json", pointer])


def test_unknown_recipe_names_the_known(samples, output):
    refuse(*quantize(MODEL, samples, output, "--recipe", "fastest"), says=["fastest", "static_w8a8"])


def test_full_disk(samples, output):
    def limit():  # like a full disk: writes beyond 4 kB fail
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    refuse(*quantize(MODEL, samples, output, "--quiet"), says=["out.onnx", "cannot write"], preexec_fn=limit)


def test_output_that_cannot_be_written(tmp_path, samples):
    refuse(*quantize(MODEL, samples, tmp_path / "no/such/folder/out.onnx"), says=["no/such/folder/out.onnx"])
    refuse(*quantize(MODEL, samples, "/dev/null"), says=["/dev/null", "not a regular file"])


def test_interrupt_leaves_the_old_file(tmp_path, output):
    samples = tmp_path / "many.npz"
    np.savez(samples, images=np.zeros((60000, 1, 28, 28), np.float32))
    process = subprocess.Popen(
        [ZEROPOINT, *map(str, quantize(MODEL, samples, output))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process.wait(timeout=0.8)
        pytest.skip("the machine was too fast to be interrupted")
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    last = err.splitlines()[-1]
    assert "stopped by the user" in last
    part = output.parent / "out.onnx.part"
    assert "--resume" in last and str(part) in last
    part.unlink()  # what the hint names is all that is left


def test_statistics_of_another_model_or_broken(tmp_path, samples, output):
    statistics = tmp_path / "statistics"
    assert (
        run("calibrate", ROOT / "tests/data/fmnist_resnet8.onnx", "--data", samples, "-o", statistics).returncode == 0
    )
    refuse("quantize", MODEL, "-o", output, "--statistics", statistics, says=["statistics"])
    data = bytearray(statistics.read_bytes())
    data[len(data) // 2] ^= 1
    statistics.write_bytes(data)
    refuse("quantize", MODEL, "-o", output, "--statistics", statistics, says=[statistics.name])


def test_misspelt_verbs():
    refuse("quantise", MODEL, says=["'quantise'", "did you mean 'quantize'?", "--help"])
    refuse("xyzzy", says=["'xyzzy'", "Verbs:", "inspect"])


def test_inputs_that_are_not_given():
    refuse("run", MODEL, says=["'images'", "--input images=", "--random"])


def test_batch_against_shape():
    refuse("bench", MODEL, "--batch", "4", "--shape", "images=2,1,28,28", says=["--batch", "images=[2,1,28,28]"])
    assert run("bench", MODEL, "--batch", "2", "--shape", "images=2,1,28,28", "--seconds", "0.01").returncode == 0


def test_no_samples(samples, output):
    refuse(*quantize(MODEL, samples, output, "--samples", "0"), says=["--samples"])


def test_compare_refuses_models_that_do_not_belong_together(tmp_path, samples):
    quantized = tmp_path / "quantized.onnx"
    assert run(*quantize(MODEL, samples, quantized, "--quiet")).returncode == 0
    data = ("--data", samples)
    refuse("compare", quantized, MODEL, *data, says=["swapped", "float model first"])
    refuse("compare", ROOT / "tests/data/fmnist_vit.onnx", quantized, *data, says=["different networks"])
    assert run("compare", MODEL, quantized, *data, "--quiet").returncode == 0


def test_resume_after_an_interrupt(tmp_path):
    """The second run goes on where the first was stopped and writes what an undisturbed one writes."""
    data = tmp_path / "many.npz"
    whole, resumed = tmp_path / "whole.onnx", tmp_path / "resumed.onnx"
    for count in (
        3_000,
        12_000,
        48_000,
        192_000,
    ):  # until the machine is still at it when it says so for the first time
        np.savez(data, images=np.random.default_rng(0).normal(size=(count, 1, 28, 28)).astype(np.float32))
        command = [ZEROPOINT, *map(str, quantize(MODEL, data, resumed, "--threads", "1"))]
        ours, terminal = os.openpty()  # where progress is drawn
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=terminal)
        os.close(terminal)
        os.read(ours, 1)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
        os.close(ours)
        if process.returncode != 0:
            break
        resumed.unlink()
    assert process.returncode == 130
    assert (tmp_path / "resumed.onnx.part").exists()
    assert run(*quantize(MODEL, data, resumed, "--quiet", "--resume")).returncode == 0
    assert not (tmp_path / "resumed.onnx.part").exists()
    assert run(*quantize(MODEL, data, whole, "--quiet")).returncode == 0
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("magic", "bias_correction"),
        ("bias_correction=rate=1", "no parameters"),
        ("bias_correction=rate", "KEY=NUMBER"),
        ("bias_correction=rate=fast", "KEY=NUMBER"),
    ],
)
def test_steps_that_are_not(samples, output, step, says):
    refuse("quantize", MODEL, "-o", output, "--data", samples, "--step", step, says=["--step " + step, says])
