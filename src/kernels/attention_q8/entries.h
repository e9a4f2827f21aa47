// The functions behind the rows of the kernel table; for table.cpp and the kernel files.
#pragma once

#include "kernels/attention_q8/attention_q8_args.h"

namespace zeropoint::kernels {

bool supports_any_attention(const AttentionShape& shape);
std::size_t attention_workspace_reference(const AttentionShape& shape, int workers);
void attention_q8_reference(const AttentionShape& shape, const AttentionArgs& args, int worker, int workers) noexcept;

bool supports_attention_amxint8(const AttentionShape& shape);
std::size_t attention_workspace_amxint8(const AttentionShape& shape, int workers);
void attention_q8_amxint8(const AttentionShape& shape, const AttentionArgs& args, int worker, int workers) noexcept;

}  // namespace zeropoint::kernels
