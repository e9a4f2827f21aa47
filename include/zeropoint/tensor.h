// A tensor: element type, dimensions and row-major bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace zeropoint {

class Spill;  // base/spill.h

static_assert(std::endian::native == std::endian::little, "zeropoint reads little-endian files in place");

// Short codes as in oneDNN: s8 is a signed byte. `opaque` holds what this version does not read (strings, types newer than
// itself) so that files pass through unharmed; its bytes are private to src/onnx.
enum class DType : std::uint8_t {
  undefined,
  b8,
  f16,
  bf16,
  f32,
  f64,
  s64,
  u64,
  s32,
  u32,
  s16,
  u16,
  s8,
  u8,
  s4,
  u4,
  s2,
  u2,
  f8e4m3fn,
  f8e4m3fnuz,
  f8e5m2,
  f8e5m2fnuz,
  f8e8m0,
  f4e2m1,
  opaque
};
std::string_view name(DType dtype);  // "f32"
std::optional<DType> parse_dtype(std::string_view text);
int bits(DType dtype);             // of one element; 0 for undefined and opaque
bool is_integer(DType dtype);      // s64 ... u2, not b8
bool is_float(DType dtype);        // f16 bf16 f32 f64
bool is_float8(DType dtype);       // f8e4m3fn ... f4e2m1: storage only
std::int64_t lowest(DType dtype);  // of an integer type of at most 32 bits
std::int64_t highest(DType dtype);

struct Float16 {
  std::uint16_t bits;
};  // storage only
struct BFloat16 {
  std::uint16_t bits;
};

template <class T>
inline constexpr DType dtype_of = DType::undefined;
template <>
inline constexpr DType dtype_of<bool> = DType::b8;
template <>
inline constexpr DType dtype_of<Float16> = DType::f16;
template <>
inline constexpr DType dtype_of<BFloat16> = DType::bf16;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::s64;
template <>
inline constexpr DType dtype_of<std::uint64_t> = DType::u64;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::s32;
template <>
inline constexpr DType dtype_of<std::uint32_t> = DType::u32;
template <>
inline constexpr DType dtype_of<std::int16_t> = DType::s16;
template <>
inline constexpr DType dtype_of<std::uint16_t> = DType::u16;
template <>
inline constexpr DType dtype_of<std::int8_t> = DType::s8;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;

using Dims = std::vector<std::int64_t>;
// Product of the dimensions; 1 for a scalar. Throws Error kLimit on a negative dimension or when it passes 2^62.
std::int64_t element_count(std::span<const std::int64_t> dims);
std::string to_string(std::span<const std::int64_t> dims);  // "[1,3,224,224]"

// A value: copies share the bytes and never see each other's writes (mutable_values copies shared or borrowed bytes first).
class Tensor {
 public:
  Tensor() = default;              // undefined, no elements; stands for an absent optional input
  Tensor(DType dtype, Dims dims);  // zeros, 64-byte aligned

  template <class T>
  static Tensor of(Dims dims, std::span<const T> values) {
    Tensor tensor(dtype_of<T>, std::move(dims));
    tensor.assign(std::as_bytes(values));
    return tensor;
  }
  template <class T>
  static Tensor of(Dims dims, const std::vector<T>& values) {
    return of(std::move(dims), std::span<const T>(values));
  }
  template <class T>
  static Tensor scalar(T value) {
    return of<T>({}, std::span<const T>(&value, 1));
  }
  static Tensor of_ints(const std::vector<std::int64_t>& values) {
    return of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values);
  }
  // Points at `bytes`, kept alive by `owner`; copies instead when they are not aligned for their type.
  static Tensor borrow(DType dtype, Dims dims, std::span<const std::byte> bytes, std::shared_ptr<const void> owner);
  // The same, but 64 KiB and more that are not aligned are copied when first asked for, into `spill`.
  static Tensor borrow(DType dtype, Dims dims, std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                       std::shared_ptr<Spill> spill);
  // Takes `buffer`, of as many bytes as the elements need, as its own memory: no copy, no zeros.
  static Tensor adopt(DType dtype, Dims dims, std::shared_ptr<std::byte[]> buffer);
  static Tensor opaque(Dims dims, std::string bytes);

  DType dtype() const { return dtype_; }
  const Dims& dims() const { return dims_; }
  std::int64_t dim(std::size_t axis) const { return dims_[axis]; }
  std::size_t rank() const { return dims_.size(); }
  std::int64_t size() const { return size_; }           // elements
  std::size_t byte_size() const { return byte_size_; }  // of bytes(), without reading them
  bool defined() const { return dtype_ != DType::undefined; }
  std::span<const std::byte> bytes() const { return {data(), byte_size_}; }
  std::span<std::byte> mutable_bytes();
  // As bytes(), but perhaps not aligned for the type: for who copies or hashes them, without a copy of borrowed ones.
  std::span<const std::byte> unaligned_bytes() const;

  // Throws Error kBadType when T is not the tensor's type.
  template <class T>
  std::span<const T> values() const {
    check_type(dtype_of<T>);
    return {reinterpret_cast<const T*>(data()), static_cast<std::size_t>(size_)};
  }
  template <class T>
  std::span<T> mutable_values() {
    check_type(dtype_of<T>);
    return {reinterpret_cast<T*>(mutable_bytes().data()), static_cast<std::size_t>(size_)};
  }

  Tensor reshaped(Dims dims) const;  // same bytes; throws kBadShape when the counts differ

  friend bool operator==(const Tensor& a, const Tensor& b);  // type, dimensions and bytes

 private:
  struct Late;  // bytes that are not aligned, and the copy that is
  const std::byte* data() const { return late_ ? aligned() : data_; }
  const std::byte* aligned() const;
  void check_type(DType expected) const;
  void assign(std::span<const std::byte> bytes);

  DType dtype_ = DType::undefined;
  Dims dims_;
  std::int64_t size_ = 0;
  std::size_t byte_size_ = 0;
  std::byte* data_ = nullptr;
  std::shared_ptr<const void> owner_;
  std::shared_ptr<Late> late_;
  bool borrowed_ = false;
};

}  // namespace zeropoint
