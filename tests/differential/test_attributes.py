"""Which attributes operators have, against the schemas of the onnx package and of ONNX Runtime.

A model of one node is read for each attribute that an operator has in any opset, in each opset that zeropoint reads: it
is taken exactly when the schema of that opset has the attribute, with that kind. Operators that zeropoint does not know
may have any, so those count that refuse a name nobody has.
"""

import collections

import onnx
import pytest
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

import zeropoint

OLDEST, NEWEST = 7, onnx.defs.onnx_opset_version()
F32 = onnx.TensorProto.FLOAT
ROW = helper.make_tensor("", F32, [1], [1.0])
VALUES = {
    "INT": 1,
    "FLOAT": 1.5,
    "STRING": "text",
    "TENSOR": ROW,
    "GRAPH": helper.make_graph([], "body", [], []),
    "INTS": [1, 2],
    "FLOATS": [1.5, 2.5],
    "STRINGS": ["a", "b"],
    "SPARSE_TENSOR": helper.make_sparse_tensor(ROW, helper.make_tensor("", onnx.TensorProto.INT64, [1], [0]), [2]),
}


def kinds(schema):
    return {a.name: str(a.type).rpartition(".")[2] for a in schema.attributes.values()}


def refusal(domain, op_type, opset, name, kind):
    """What zeropoint says of a node with that one attribute; empty when it is read."""
    node = helper.make_node(op_type, ["x"], ["y"], domain=domain, name="n")
    node.attribute.append(helper.make_attribute(name, VALUES[kind]))
    x, y = (helper.make_tensor_value_info(v, F32, None) for v in "xy")
    graph = helper.make_graph([node], "g", [x], [y])
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    try:
        zeropoint.load(model.SerializeToString())
    except zeropoint.Error as error:
        assert error.code == "bad_attribute", str(error)
        assert f"'{name}'" in str(error) and "node 'n'" in str(error), str(error)
        return str(error)
    return ""


def compare(domain, op_type, opset, schema, names, wrong):
    """The node's attributes one by one; False when zeropoint does not know the operator."""
    if not refusal(domain, op_type, opset, "nobody_has_this", "INT"):
        return False
    has = kinds(schema)
    for name in {*names, *has}:
        for kind in VALUES:
            said = refusal(domain, op_type, opset, name, kind)
            if (has.get(name) == kind) == bool(said):
                wrong.append(f"{domain or 'ai.onnx'}.{op_type} of opset {opset}, {name} {kind}: {said or 'taken'}")
    return True


@pytest.fixture(scope="module")
def histories():
    found = collections.defaultdict(dict)
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.domain:
            found[schema.name][schema.since_version] = schema
    return found


def test_every_version_of_onnx(histories):
    wrong, known = [], set()
    for op_type, history in histories.items():
        names = {name for schema in history.values() for name in kinds(schema)}
        last = None
        for opset in range(OLDEST, NEWEST + 1):
            since = max((v for v in history if v <= opset), default=None)
            # The oldest and the newest opset of each version say all.
            if since is None or (since == last and opset != NEWEST and opset + 1 not in history):
                continue
            last = since
            if compare("", op_type, opset, history[since], names, wrong):
                known.add(op_type)
    assert len(known) >= 160, sorted(known)
    assert not wrong, "\n" + "\n".join(wrong)


def test_onnxruntimes_own_operators():
    wrong, known = [], set()
    for schema in runtime.get_all_operator_schema():
        own = schema.domain == "com.microsoft" or (not schema.domain and schema.name == "SimplifiedLayerNormalization")
        if own and compare(schema.domain, schema.name, 17, schema, (), wrong):
            known.add(schema.name)
    assert len(known) >= 30, sorted(known)
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_message_names_what_was_meant():
    assert "Softmax has no attribute 'axiS'; did you mean 'axis'?" in refusal("", "Softmax", 13, "axiS", "INT")
    assert "has no attribute 'axes' in opset 13: it had up to 12" in refusal("", "Squeeze", 13, "axes", "INTS")
    assert "has no attribute 'ceil_mode' in opset 9: it has from 10 on" in refusal("", "MaxPool", 9, "ceil_mode", "INT")
    assert "attribute 'axis' is a float, but must be an integer" in refusal("", "Softmax", 13, "axis", "FLOAT")


def test_names_for_tools_are_nobodys_business():
    """onnx.checker lets attributes pass whose names begin with two underscores."""
    assert not refusal("", "Softmax", 13, "__origin", "STRING")


@pytest.mark.parametrize("inside, said", [("axis", ""), ("axiS", "did you mean 'axis'?")])
def test_bodies_of_functions(inside, said):
    """A function's call has the function's attributes, its body those of the operators, by value or by reference."""
    softmax = helper.make_node("Softmax", ["a"], ["b"], name="s")
    reference = onnx.AttributeProto(name=inside, type=onnx.AttributeProto.INT, ref_attr_name="around")
    softmax.attribute.append(reference)
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Softly", ["a"], ["b"], [softmax], opset, ["around"])
    call = helper.make_node("Softly", ["x"], ["y"], domain="own", around=1)
    x, y = (helper.make_tensor_value_info(v, F32, [2, 3]) for v in "xy")
    model = helper.make_model(
        helper.make_graph([call], "g", [x], [y]), opset_imports=opset, functions=[function], ir_version=9
    )
    if not said:
        zeropoint.load(model.SerializeToString())
        return
    with pytest.raises(zeropoint.Error) as caught:
        zeropoint.load(model.SerializeToString())
    assert caught.value.code == "bad_attribute" and said in str(caught.value) and "Softly" in str(caught.value)
