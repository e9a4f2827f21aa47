// Members of .npz archives: <array name>.npy.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/npy.h"
#include "data/zip.h"
#include "zeropoint/data.h"

namespace zeropoint::data {

// Reads a member's header, checked against the member's size.
NpyHeader read_member_header(ZipFile& file, const ZipMember& member);
// Reads a whole member. Throws Error kLimit above max_bytes.
Tensor read_member(ZipFile& file, const ZipMember& member, std::uint64_t max_bytes);
// The members of the inputs, in their order. Throws Error kBadSample naming an input without an array, or an array that is
// neither an input nor called labels, label or names.
std::vector<ZipMember> find_inputs(const ZipFile& file, const std::vector<ValueInfo>& inputs, const std::string& where);
// The member `labels` or `label` as numbers; nothing when there is none (or an input has that name).
std::optional<std::vector<std::int64_t>> read_labels(ZipFile& file, const std::vector<ValueInfo>& inputs,
                                                     std::uint64_t max_bytes);

}  // namespace zeropoint::data
