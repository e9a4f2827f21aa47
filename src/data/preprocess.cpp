#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "zeropoint/data.h"

namespace zeropoint {
namespace {

using nlohmann::json;

// One object of the file: takes each key once, then complains about those that nobody took.
class Fields {
 public:
  Fields(const json& object, std::string pointer, const std::string& where)
      : object_(object), pointer_(std::move(pointer)), where_(where) {
    if (!object.is_object()) fail("", "must be an object");
  }

  [[noreturn]] void fail(const std::string& key, const std::string& message) const {
    const std::string pointer = key.empty() ? pointer_ : pointer_ + "/" + key;
    throw Error(ErrorCode::kBadFile, where_, fmt::format("{} {}", pointer.empty() ? "the file" : pointer, message));
  }
  const json* find(const std::string& key) {
    known_.push_back(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }
  bool has(const std::string& key) const { return object_.contains(key); }
  int pixels(const std::string& key, bool required) {
    const json* value = find(key);
    if (value == nullptr && !required) return 0;
    if (value == nullptr) fail(key, "is missing");
    const bool whole = value->is_number_integer() && *value >= 1 && *value <= 16384;
    if (!whole) fail(key, "must be a whole number from 1 to 16384");
    return value->get<int>();
  }
  template <class Choice>
  Choice choice(const std::string& key, std::initializer_list<std::pair<const char*, Choice>> choices) {
    const json* value = find(key);
    if (value == nullptr) return choices.begin()->second;
    std::string names;
    for (const auto& [text, meaning] : choices) {
      if (value->is_string() && *value == text) return meaning;
      names += (names.empty() ? "\"" : ", \"") + std::string(text) + "\"";
    }
    fail(key, "must be one of " + names);
  }
  float number(const std::string& key, const json& value) const {
    if (!value.is_number()) fail(key, "must be a number");
    const auto result = static_cast<float>(value.get<double>());
    if (!std::isfinite(result)) fail(key, "must be a finite number");
    return result;
  }
  std::array<float, 3> levels(const std::string& key, std::size_t channels, float otherwise) {
    std::array<float, 3> result{otherwise, otherwise, otherwise};
    const json* value = find(key);
    if (value == nullptr) return result;
    if (value->is_array() && value->size() == channels) {
      for (std::size_t c = 0; c < channels; ++c) result[c] = number(key + "/" + std::to_string(c), (*value)[c]);
    } else if (value->is_number()) {
      result.fill(number(key, *value));
    } else {
      fail(key, fmt::format("must be a number or a list of {}", channels));
    }
    return result;
  }
  void finish() const {
    for (const auto& [key, value] : object_.items())
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) fail(key, "is not known");
  }

 private:
  const json& object_;
  std::string pointer_;
  const std::string& where_;
  std::vector<std::string> known_;
};

}  // namespace

Preprocess parse_preprocess(std::string_view text, const std::string& where) {
  json document;
  try {
    document = json::parse(text);
  } catch (const json::exception& error) {
    throw Error(ErrorCode::kBadFile, where, fmt::format("not valid JSON: {}", error.what()));
  }
  Preprocess how;
  Fields fields(document, "", where);
  if (const json* input = fields.find("input")) {
    if (!input->is_string()) fields.fail("input", "must be a string");
    how.input = input->get<std::string>();
  }
  if (const json* resize = fields.find("resize")) {
    Fields part(*resize, "/resize", where);
    if (part.has("short_side")) {
      how.short_side = part.pixels("short_side", true);
    } else {
      how.height = part.pixels("height", true);
      how.width = part.pixels("width", true);
    }
    how.filter = part.choice<Preprocess::Filter>(
        "filter", {{"bilinear", Preprocess::Filter::bilinear}, {"bicubic", Preprocess::Filter::bicubic}});
    part.finish();
  }
  if (const json* crop = fields.find("crop")) {
    Fields part(*crop, "/crop", where);
    how.crop_height = part.pixels("height", true);
    how.crop_width = part.pixels("width", true);
    part.choice<bool>("position", {{"center", true}});
    part.finish();
  }
  how.colors = fields.choice<Preprocess::Colors>(
      "color_order", {{"RGB", Preprocess::Colors::rgb}, {"BGR", Preprocess::Colors::bgr}, {"GRAY", Preprocess::Colors::gray}});
  how.channel_last = fields.choice<bool>("layout", {{"NCHW", false}, {"NHWC", true}});
  if (const json* scale = fields.find("scale")) how.scale = fields.number("scale", *scale);
  const std::size_t channels = how.colors == Preprocess::Colors::gray ? 1 : 3;
  how.mean = fields.levels("mean", channels, 0);
  how.std = fields.levels("std", channels, 1);
  for (const float divisor : how.std)
    if (divisor == 0) fields.fail("std", "must not be 0");
  fields.finish();
  return how;
}

Tensor preprocess(const Picture& source, const Preprocess& how, const std::string& where) {
  Picture picture = source;
  if (how.short_side != 0) {
    // The longer side is cut to a whole number, as torchvision does.
    const std::int64_t shorter = std::min(source.height, source.width);
    const auto scaled = [&](int side) {
      const std::int64_t result = std::int64_t{side} * how.short_side / shorter;
      if (result > (1 << 24))
        throw Error(ErrorCode::kLimit, where,
                    fmt::format("{} x {} pixels are too long to resize", source.height, source.width));
      return static_cast<int>(result);
    };
    picture = resize(source, scaled(source.height), scaled(source.width), how.filter);
  } else if (how.height != 0) {
    picture = resize(source, how.height, how.width, how.filter);
  }
  const int height = how.crop_height != 0 ? how.crop_height : picture.height;
  const int width = how.crop_width != 0 ? how.crop_width : picture.width;
  if (height > picture.height || width > picture.width)
    throw Error(ErrorCode::kBadSample, where,
                fmt::format("has {} x {} pixels (height x width) after resizing, too few to crop {} x {}", picture.height,
                            picture.width, height, width));
  const int top = (picture.height - height) / 2, left = (picture.width - width) / 2;

  const std::int64_t channels = how.colors == Preprocess::Colors::gray ? 1 : 3;
  Tensor tensor(DType::f32, how.channel_last ? Dims{1, height, width, channels} : Dims{1, channels, height, width});
  const auto values = tensor.mutable_values<float>();
  const auto plane = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  // All that can come of a level, so that each pixel costs a lookup.
  std::array<std::array<float, 256>, 3> table{};
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t level = 0; level < 256; ++level)
      table[c][level] = (static_cast<float>(level) * how.scale - how.mean[c]) / how.std[c];

  const auto count = static_cast<std::size_t>(channels);
  const std::size_t pixel_step = how.channel_last ? count : 1, channel_step = how.channel_last ? 1 : plane;
  std::size_t index = 0;
  for (int y = 0; y < height; ++y) {
    const std::uint8_t* pixel =
        picture.rgb.data() +
        (static_cast<std::size_t>(top + y) * static_cast<std::size_t>(picture.width) + static_cast<std::size_t>(left)) * 3;
    for (int x = 0; x < width; ++x, pixel += 3, ++index) {
      float* out = values.data() + index * pixel_step;
      if (count == 1) {
        // ITU-R BT.601 luma in 16 bits, as Pillow's mode L.
        out[0] = table[0][(pixel[0] * 19595U + pixel[1] * 38470U + pixel[2] * 7471U + 0x8000U) >> 16];
        continue;
      }
      for (std::size_t c = 0; c < 3; ++c)
        out[c * channel_step] = table[c][pixel[how.colors == Preprocess::Colors::bgr ? 2 - c : c]];
    }
  }
  return tensor;
}

}  // namespace zeropoint
