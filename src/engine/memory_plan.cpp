#include <algorithm>
#include <limits>

#include "engine/plan.h"
#include "zeropoint/error.h"

namespace zeropoint::engine {
namespace {

struct Block {
  std::size_t root;
  std::size_t bytes, offset = 0;
  std::int64_t first, last;  // steps between which it is alive, both included
};

std::size_t find_root(const Plan& plan, ValueId value) { return static_cast<std::size_t>(root_of(plan, value)); }

// The value whose memory the step's output could take, were it not needed any more; or kNoValue.
ValueId overwritten(const Plan& plan, const Step& step, std::size_t input) {
  if (step.outputs.size() != 1 || step.inputs[input] == kNoValue || !step.overwrites(input)) return kNoValue;
  const ValueId root = root_of(plan, step.inputs[input]);
  const PlanValue& held = plan.values[static_cast<std::size_t>(root)];
  const PlanValue& output = plan.values[static_cast<std::size_t>(step.outputs[0])];
  // Whole values alone: the others of a part may be needed.
  if (output.place != Place::arena || held.place != Place::arena || held.bytes != output.bytes) return kNoValue;
  const auto readers = std::count_if(step.inputs.begin(), step.inputs.end(),
                                     [&](ValueId each) { return each != kNoValue && root_of(plan, each) == root; });
  return readers == 1 ? root : kNoValue;
}

// first, last: of each root the steps between which it is alive.
void share_dying_inputs(Plan& plan, const std::vector<std::int64_t>& first, std::vector<std::int64_t>& last) {
  for (std::size_t step = 0; step < plan.steps.size(); ++step)
    for (std::size_t input = 0; input < plan.steps[step]->inputs.size(); ++input) {
      const ValueId root = overwritten(plan, *plan.steps[step], input);
      if (root == kNoValue) continue;
      const auto output = static_cast<std::size_t>(plan.steps[step]->outputs[0]);
      const auto now = static_cast<std::int64_t>(step);
      if (last[static_cast<std::size_t>(root)] != now || first[output] != now) continue;
      last[static_cast<std::size_t>(root)] = last[output];
      plan.values[output].place = Place::alias;
      plan.values[output].alias = root;
      break;
    }
}

}  // namespace

ValueId root_of(const Plan& plan, ValueId value) {
  while (plan.values[static_cast<std::size_t>(value)].place == Place::alias)
    value = plan.values[static_cast<std::size_t>(value)].alias;
  return value;
}

void plan_memory(Plan& plan) {
  constexpr std::size_t kLine = 64;
  constexpr std::int64_t kNever = -1;
  std::vector<std::int64_t> first(plan.values.size(), kNever), last(plan.values.size(), kNever);
  const auto touch = [&](ValueId value, std::int64_t step) {
    if (value == kNoValue) return;
    const std::size_t root = find_root(plan, value);
    if (first[root] == kNever) first[root] = step;
    last[root] = std::max(last[root], step);
  };
  for (std::size_t step = 0; step < plan.steps.size(); ++step) {
    for (const ValueId value : plan.steps[step]->inputs) {
      if (value != kNoValue)
        if (const std::size_t root = find_root(plan, value); plan.values[root].place == Place::arena && first[root] == kNever)
          throw Error(ErrorCode::kInternal, plan.steps[step]->info.name,
                      "reads '" + plan.values[root].name + "' before it is made");
      touch(value, static_cast<std::int64_t>(step));
    }
    for (const ValueId value : plan.steps[step]->outputs) touch(value, static_cast<std::int64_t>(step));
  }

  for (const Plan::Tap& tap : plan.taps) touch(tap.value, tap.after + 1);  // shown before the step behind
  share_dying_inputs(plan, first, last);

  std::vector<Block> blocks;
  for (std::size_t value = 0; value < plan.values.size(); ++value) {
    const PlanValue& facts = plan.values[value];
    if (facts.place != Place::arena || first[value] == kNever) continue;
    const std::size_t bytes = (facts.bytes + kSlackBytes + kLine - 1) / kLine * kLine;
    blocks.push_back({.root = value, .bytes = bytes, .first = first[value], .last = last[value]});
  }
  std::stable_sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) { return a.bytes > b.bytes; });

  std::size_t total = 0;
  std::vector<const Block*> placed;  // ascending offset
  for (Block& block : blocks) {
    std::size_t best = std::numeric_limits<std::size_t>::max(), best_gap = best, end = 0;
    for (const Block* other : placed) {
      if (other->last < block.first || block.last < other->first) continue;
      if (other->offset >= end && other->offset - end >= block.bytes && other->offset - end < best_gap) {
        best = end;
        best_gap = other->offset - end;
      }
      end = std::max(end, other->offset + other->bytes);
    }
    block.offset = best == std::numeric_limits<std::size_t>::max() ? end : best;
    total = std::max(total, block.offset + block.bytes);
    const auto position = std::upper_bound(placed.begin(), placed.end(), &block,
                                           [](const Block* a, const Block* b) { return a->offset < b->offset; });
    placed.insert(position, &block);
    plan.values[block.root].slot = block.offset + kSlackBytes;
  }
  plan.arena_bytes = total + 2 * kSlackBytes;
}

}  // namespace zeropoint::engine
