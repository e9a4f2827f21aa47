"""Recipes as values: they compare, print, change by copy, and survive JSON."""

from __future__ import annotations

import json
import pickle

import pytest

import zeropoint as q


def test_names():
    assert "static_w8a8" in q.recipes.names()
    assert q.recipes.named("static_w8a8") == q.recipes.static_w8a8()
    with pytest.raises(q.Error, match="static_w8a8"):
        q.recipes.named("static_w9a9")


def test_static_w8a8():
    (rule,) = q.recipes.static_w8a8().rules
    assert rule.activation == q.uint8(range=rule.activation.range)
    assert rule.weight == q.int8(q.PerChannel(axis=0), range=rule.weight.range)
    assert rule.weight.symmetric and not rule.activation.symmetric
    assert (rule.activation.dtype, rule.weight.dtype, rule.weight.granularity) == ("uint8", "int8", q.PerChannel(0))


def test_override_and_keep_float_are_copies():
    plain = q.recipes.static_w8a8()
    recipe = plain.override(r"/layer4/.*", "Conv", weight=q.int8(q.PerChannel(axis=0), range="mse")).keep_float("fc")
    assert len(plain.rules) == 1 and plain == q.recipes.static_w8a8() and plain != recipe
    _, changed, kept = recipe.rules
    assert (changed.scope, changed.op_type) == ("/layer4/.*", "Conv")
    assert changed.weight.range == "mse"
    assert changed.activation == plain.rules[0].activation  # what is not given stays
    assert (kept.scope, kept.activation, kept.weight) == ("fc", None, None)


def test_round_trip():
    recipe = (
        q.recipes.static_w8a8()
        .with_range("percentile", parameter=99.9)
        .override("a", weight=q.uint8(), activation=q.int8(symmetric=False, range="kl_divergence"))
        .keep_float(op_type="MatMul")
        .with_target("openvino")
        .with_all_integers()
    )
    assert recipe.all_integers and not recipe.with_all_integers(False).all_integers
    assert recipe.target == "openvino"
    again = q.Recipe.from_json(recipe.to_json())
    assert again == recipe and again.to_json() == recipe.to_json() and hash(again) == hash(recipe)
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert json.loads(recipe.to_json())["target"] == "openvino"


def test_changes_take_the_mark_of_a_check_off():
    text = q.recipes.static_w8a8().to_json().replace('"rules"', '"checked": true, "rules"', 1)
    recipe = q.Recipe.from_json(text)
    assert recipe.checked and q.Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.with_target(recipe.target).checked
    for changed in (
        recipe.with_target("zeropoint"),
        recipe.with_range("mse"),
        recipe.with_step("gptq"),
        recipe.with_all_integers(),
        recipe.keep_float("a"),
        recipe.override("a", weight=q.uint8()),
    ):
        assert not changed.checked


def test_repr():
    assert repr(q.int8(q.PerChannel(axis=0), range="mse")) == "int8(PerChannel(axis=0), range='mse')"
    assert repr(q.uint8()) == "uint8(PerTensor())"
    assert repr(q.int8(symmetric=False)) == "int8(PerTensor(), symmetric=False)"
    assert repr(q.PerGroup(axis=0, size=32)) == "PerGroup(axis=0, size=32)"
    assert "Rule(scope='fc', op_type='*')" in repr(q.recipes.static_w8a8().keep_float("fc"))
    scheme = q.int8(q.PerChannel(), range="mse")
    assert eval(repr(scheme), vars(q)) == scheme


def test_immutable():
    recipe = q.recipes.static_w8a8()
    with pytest.raises(AttributeError):
        recipe.name = "mine"  # type: ignore[misc]
    recipe.rules.clear()  # a copy
    assert len(recipe.rules) == 1


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda r: r.override(weight=q.int8(q.PerGroup(axis=0, size=32))), "/rules/1"),
        (lambda r: r.override(weight=q.int8(q.PerChannel(axis=1))), "/rules/1"),
        (lambda r: r.override(activation=q.uint8(symmetric=True)), "/rules/1"),
        (lambda r: r.override(weight=q.int8(range="kl_divergence")), "/rules/1/weight/range"),
        (lambda r: r.override("(", weight=q.int8()), "/rules/1/scope"),
        (lambda r: r.override(activation=q.uint8(parameter=3)), "/rules/1/activation/parameter"),
        (lambda r: r.override(), "override"),
        (lambda r: r.with_target("abacus"), "target"),
        (lambda r: q.Recipe.from_json('{"rules": [{"scope": 5}]}'), "/rules/0/scope"),
        (lambda r: q.Recipe.from_json("{"), ""),
    ],
)
def test_mistakes_are_found_where_they_are_made(make, where: str):
    with pytest.raises(q.Error) as caught:
        make(q.recipes.static_w8a8())
    assert caught.value.where.startswith(where)
    assert caught.value.code in ("bad_recipe", "bad_argument")


def test_dynamic_and_weight_only():
    dynamic = q.recipes.dynamic_w8a8()
    assert dynamic.rules[0].activation == q.dynamic_uint8()
    assert dynamic.rules[0].activation.dynamic and not q.uint8().dynamic
    assert repr(q.dynamic_uint8("per_row")) == "dynamic_uint8('per_row')"
    with pytest.raises(q.Error, match="per_row"):
        q.dynamic_uint8("per_column")
    four = q.recipes.weight_only_w4(128)
    assert q.Recipe.from_json(four.to_json()) == four
    assert q.uint4(q.PerGroup(size=128), range="mse") in [rule.weight for rule in four.rules]
    eight = q.recipes.weight_only_w8().override("head", weight=q.int4(q.PerGroup(size=64)))
    assert eight.rules[-1].activation is None and q.Recipe.from_json(eight.to_json()) == eight
    with pytest.raises(q.Error, match="without a scheme of activations"):
        q.recipes.static_w8a8().override(".*", weight=q.uint4(q.PerGroup()))


def test_widths_and_scales():
    scheme = q.int8(q.PerChannel(), bits=6, scale="power_of_two")
    assert (scheme.dtype, scheme.bits, scheme.scale) == ("int8", 6, "power_of_two")
    assert repr(scheme) == "int8(PerChannel(axis=0), bits=6, scale='power_of_two')"
    assert scheme != q.int8(q.PerChannel()) and q.int8(bits=8) == q.int8()
    recipe = q.recipes.static_w8a8().override(activation=q.uint16(), weight=q.int2(q.PerChannel()))
    assert q.Recipe.from_json(recipe.to_json()) == recipe
    assert q.recipes.static_w8a16().rules[0].activation == q.uint16()
    assert q.recipes.static_w4a8().rules[0].weight == q.int4(q.PerChannel(), range="mse")
    for wrong in ({"bits": 9}, {"bits": 1}, {"scale": "round"}):
        with pytest.raises(q.Error, match=r"9|1|round"):
            q.int8(**wrong)


def test_float_recipes():
    half = q.recipes.fp16()
    assert [rule.float_type for rule in half.rules] == ["float16"]
    assert [rule.float_type for rule in q.recipes.bf16().keep_float("head").rules] == ["bfloat16", "float32"]
    assert q.Recipe.from_json(half.to_json()) == half
    with pytest.raises(q.Error, match="either in another float type or in integers"):
        half.override(".*", weight=q.int8(q.PerChannel()))
