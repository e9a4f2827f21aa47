// One file whose arrays have a leading axis of samples.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "zeropoint/data.h"

namespace zeropoint::data {

// .npz: arrays named as the inputs, read when asked for. Members called labels, label or names are no inputs.
std::unique_ptr<Samples> open_npz_axis(const std::filesystem::path& path, const std::vector<ValueInfo>& inputs,
                                       const DataOptions& options);
// .npy.
std::unique_ptr<Samples> open_npy_axis(const std::filesystem::path& path, const ValueInfo& input, const DataOptions& options);

}  // namespace zeropoint::data
