#include "zeropoint/tensor.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/spill.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

struct DTypeFacts {
  std::string_view name;
  int bits;
};
constexpr std::array<DTypeFacts, 25> kFacts = {
    {{"undefined", 0},  {"b8", 8},     {"f16", 16},   {"bf16", 16}, {"f32", 32},     {"f64", 64},       {"s64", 64},
     {"u64", 64},       {"s32", 32},   {"u32", 32},   {"s16", 16},  {"u16", 16},     {"s8", 8},         {"u8", 8},
     {"s4", 4},         {"u4", 4},     {"s2", 2},     {"u2", 2},    {"f8e4m3fn", 8}, {"f8e4m3fnuz", 8}, {"f8e5m2", 8},
     {"f8e5m2fnuz", 8}, {"f8e8m0", 8}, {"f4e2m1", 4}, {"opaque", 0}}};
const DTypeFacts& facts(DType dtype) { return kFacts[static_cast<std::size_t>(dtype)]; }

bool is_signed(DType dtype) {
  switch (dtype) {
    case DType::s64:
    case DType::s32:
    case DType::s16:
    case DType::s8:
    case DType::s4:
    case DType::s2:
      return true;
    default:
      return false;
  }
}

// Throws Error kLimit for what no machine holds, so that no product of sizes overflows later.
std::size_t byte_count(DType dtype, std::span<const std::int64_t> dims, std::int64_t elements) {
  constexpr std::int64_t kMostElements = std::int64_t{1} << 43;
  if (elements > kMostElements) throw Error(ErrorCode::kLimit, "", "a tensor of " + to_string(dims) + " is too large");
  return (static_cast<std::size_t>(elements) * static_cast<std::size_t>(bits(dtype)) + 7) / 8;
}

// Throws Error kLimit before memory is asked for that the machine does not have.
void check_memory(DType dtype, std::span<const std::int64_t> dims, std::size_t bytes) {
  static const std::size_t machine =
      static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (bytes > machine)
    throw Error(ErrorCode::kLimit, "",
                "a tensor of " + std::string(name(dtype)) + to_string(dims) + " takes " + std::to_string(bytes) +
                    " bytes, more than the machine's memory");
}

}  // namespace

std::string_view name(DType dtype) { return facts(dtype).name; }

std::optional<DType> parse_dtype(std::string_view text) {
  for (std::size_t i = 0; i < kFacts.size(); ++i)
    if (kFacts[i].name == text) return static_cast<DType>(i);
  return std::nullopt;
}

int bits(DType dtype) { return facts(dtype).bits; }
bool is_integer(DType dtype) { return dtype >= DType::s64 && dtype <= DType::u2; }
bool is_float(DType dtype) { return dtype >= DType::f16 && dtype <= DType::f64; }
bool is_float8(DType dtype) { return dtype >= DType::f8e4m3fn && dtype <= DType::f4e2m1; }
std::int64_t lowest(DType dtype) { return is_signed(dtype) ? -(std::int64_t{1} << (bits(dtype) - 1)) : 0; }
std::int64_t highest(DType dtype) { return (std::int64_t{1} << (bits(dtype) - (is_signed(dtype) ? 1 : 0))) - 1; }

std::int64_t element_count(std::span<const std::int64_t> dims) {
  constexpr std::int64_t kMost = std::int64_t{1} << 62;
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t dim : dims) {
    if (dim < 0) throw Error(ErrorCode::kLimit, "", "a dimension is negative: " + to_string(dims));
    if (dim == 0) empty = true;
    if (dim > 0 && count > kMost / dim) throw Error(ErrorCode::kLimit, "", "too many elements: " + to_string(dims));
    count *= std::max<std::int64_t>(dim, 1);
  }
  return empty ? 0 : count;
}

std::string to_string(std::span<const std::int64_t> dims) {
  std::string text = "[";
  for (std::size_t i = 0; i < dims.size(); ++i) text += (i ? "," : "") + std::to_string(dims[i]);
  return text + "]";
}

Tensor::Tensor(DType dtype, Dims dims) : dtype_(dtype), dims_(std::move(dims)), size_(element_count(dims_)) {
  byte_size_ = byte_count(dtype_, dims_, size_);
  if (byte_size_ == 0) return;
  check_memory(dtype_, dims_, byte_size_);
  std::shared_ptr<std::byte[]> buffer = allocate_aligned(byte_size_);
  data_ = buffer.get();
  std::memset(data_, 0, byte_size_);
  owner_ = std::move(buffer);
}

struct Tensor::Late {
  std::span<const std::byte> bytes;
  std::shared_ptr<Spill> spill;
  std::once_flag once;
  std::shared_ptr<const std::byte> copy;
};

const std::byte* Tensor::aligned() const {
  std::call_once(late_->once, [&] { late_->copy = late_->spill->copy(late_->bytes); });
  return late_->copy.get();
}

std::span<const std::byte> Tensor::unaligned_bytes() const { return late_ ? late_->bytes : bytes(); }

Tensor Tensor::borrow(DType dtype, Dims dims, std::span<const std::byte> bytes, std::shared_ptr<const void> owner) {
  return borrow(dtype, std::move(dims), bytes, std::move(owner), nullptr);
}

Tensor Tensor::borrow(DType dtype, Dims dims, std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                      std::shared_ptr<Spill> spill) {
  constexpr std::size_t kLate = std::size_t{1} << 16;
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.dims_ = std::move(dims);
  tensor.size_ = element_count(tensor.dims_);
  const std::size_t expected = byte_count(dtype, tensor.dims_, tensor.size_);
  if (bytes.size() != expected)
    throw Error(ErrorCode::kBadShape, "",
                std::to_string(bytes.size()) + " bytes for " + std::string(zeropoint::name(dtype)) + to_string(tensor.dims_) +
                    ", which takes " + std::to_string(expected));
  const std::size_t alignment = std::max<std::size_t>(1, static_cast<std::size_t>(zeropoint::bits(dtype)) / 8);
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % alignment == 0;
  if (!aligned && (!spill || bytes.size() < kLate)) {
    Tensor copy(dtype, tensor.dims_);
    copy.assign(bytes);
    return copy;
  }
  tensor.byte_size_ = bytes.size();
  if (!aligned) {
    tensor.late_ = std::make_shared<Late>();
    tensor.late_->bytes = bytes;
    tensor.late_->spill = std::move(spill);
  }
  tensor.data_ = const_cast<std::byte*>(bytes.data());  // never written through: mutable_bytes copies borrowed bytes
  tensor.owner_ = std::move(owner);
  tensor.borrowed_ = true;
  return tensor;
}

Tensor Tensor::adopt(DType dtype, Dims dims, std::shared_ptr<std::byte[]> buffer) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.dims_ = std::move(dims);
  tensor.size_ = element_count(tensor.dims_);
  tensor.byte_size_ = byte_count(dtype, tensor.dims_, tensor.size_);
  tensor.data_ = buffer.get();
  tensor.owner_ = std::move(buffer);
  return tensor;
}

Tensor Tensor::opaque(Dims dims, std::string bytes) {
  Tensor tensor;
  tensor.dtype_ = DType::opaque;
  tensor.dims_ = std::move(dims);
  tensor.size_ = element_count(tensor.dims_);
  const auto owner = std::make_shared<const std::string>(std::move(bytes));
  tensor.byte_size_ = owner->size();
  tensor.data_ = reinterpret_cast<std::byte*>(const_cast<char*>(owner->data()));
  tensor.owner_ = owner;
  tensor.borrowed_ = true;
  return tensor;
}

std::span<std::byte> Tensor::mutable_bytes() {
  if (byte_size_ > 0 && (borrowed_ || owner_.use_count() != 1)) {
    std::shared_ptr<std::byte[]> buffer = allocate_aligned(byte_size_);
    std::memcpy(buffer.get(), unaligned_bytes().data(), byte_size_);
    data_ = buffer.get();
    owner_ = std::move(buffer);
    late_.reset();
    borrowed_ = false;
  }
  return {data_, byte_size_};
}

void Tensor::assign(std::span<const std::byte> bytes) {
  if (bytes.size() != byte_size_)
    throw Error(ErrorCode::kBadShape, "", std::to_string(bytes.size()) + " bytes for a tensor of " + to_string(dims_));
  if (byte_size_ > 0) std::memcpy(mutable_bytes().data(), bytes.data(), byte_size_);
}

void Tensor::check_type(DType expected) const {
  if (dtype_ != expected)
    throw Error(
        ErrorCode::kBadType, "",
        "a tensor of " + std::string(zeropoint::name(dtype_)) + " is read as " + std::string(zeropoint::name(expected)));
}

Tensor Tensor::reshaped(Dims dims) const {
  if (element_count(dims) != size_)
    throw Error(ErrorCode::kBadShape, "", to_string(dims_) + " cannot be reshaped to " + to_string(dims));
  Tensor tensor = *this;
  tensor.dims_ = std::move(dims);
  return tensor;
}

bool operator==(const Tensor& a, const Tensor& b) {
  if (a.dtype_ != b.dtype_ || a.dims_ != b.dims_ || a.byte_size_ != b.byte_size_) return false;
  const auto x = a.unaligned_bytes(), y = b.unaligned_bytes();
  return x.empty() || x.data() == y.data() || std::memcmp(x.data(), y.data(), x.size()) == 0;
}

}  // namespace zeropoint
