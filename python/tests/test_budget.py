"""The fastest or smallest model within a budget of accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import zeropoint as q

Sample = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    generator = np.random.default_rng(5)
    return [{"images": generator.normal(size=(1, 1, 28, 28)).astype(np.float32)} for _ in range(48)]


def test_metric_by_name(dscnn: q.Model, samples: list[Sample]):
    result = q.quantize_within(
        dscnn, samples[:32], judged_on=samples[32:], metric="sqnr", limit=15, target="zeropoint", threads=1
    )
    budget = result.report.budget
    assert budget is not None and budget.met and budget.metric == "sqnr" and budget.limit == 15
    (chosen,) = (tried for tried in budget.tried if tried.chosen)
    assert chosen.within and chosen.value >= 15 and chosen.bytes < budget.float_bytes / 2
    again = q.quantize(dscnn, samples[:32], chosen.recipe, threads=1)
    assert again.model.to_bytes() == result.model.to_bytes()
    outputs = q.compare(dscnn, result.model, samples[32:], threads=1).outputs
    assert outputs[0].error.sqnr_db == pytest.approx(chosen.value, rel=1e-6)


def test_metric_by_function(dscnn: q.Model, samples: list[Sample]):
    seen: list[int] = []

    def integers(model: q.Model) -> float:
        seen.append(len(model.to_bytes()))
        return sum(node.op_type == "QuantizeLinear" for node in model.nodes)

    result = q.quantize_within(dscnn, samples[:8], metric=integers, max_drop=0, larger_is_better=False, threads=1)
    budget = result.report.budget
    assert budget is not None and budget.metric == "integers" and not budget.larger_is_better
    assert budget.float_value == 0 and len(seen) == len(budget.tried) + 1


def test_errors(dscnn: q.Model, samples: list[Sample], tmp_path: Path):
    with pytest.raises(TypeError, match="judged_on"):
        q.quantize_within(dscnn, samples, max_drop=1)
    with pytest.raises(TypeError, match="number"):
        q.quantize_within(dscnn, samples, max_drop=1, metric=lambda model: "good")
    with pytest.raises(ZeroDivisionError):
        q.quantize_within(dscnn, samples, max_drop=1, metric=lambda model: 1 / 0)
    with pytest.raises(q.Error, match="one of the two"):
        q.quantize_within(dscnn, samples, metric=lambda model: 1.0)
    with pytest.raises(q.Error, match="label"):
        q.quantize_within(dscnn, samples[:4], judged_on=samples[4:8], max_drop=1)
    record = tmp_path / "of_another.search"
    record.write_text('{"search": "another", "tried": []}')
    with pytest.raises(q.Error, match="another model"):
        q.quantize_within(dscnn, samples[:4], metric=lambda model: 1.0, max_drop=0, cache=record, resume=True)
