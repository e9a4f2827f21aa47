#include <fmt/format.h>
#include <png.h>

#include <cstring>

#include "data/decode.h"

namespace zeropoint::data {
namespace {

// libpng leaves by longjmp. So each method that calls it sets its own return point first and has no objects with destructors.
class PngReader {
 public:
  PngReader(std::span<const std::byte> bytes) : bytes_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) std::strcpy(message_, "out of memory");
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  bool read_header() {
    if (info_ == nullptr || setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, on_read);
    png_set_user_limits(png_, 0x7FFFFFFF, 0x7FFFFFFF);  // the caller checks width * height
    png_read_info(png_, info_);
    width_ = png_get_image_width(png_, info_);
    height_ = png_get_image_height(png_, info_);
    png_set_expand(png_);  // palette, fewer than 8 bits, transparent colour
    png_set_strip_16(png_);
    png_set_gray_to_rgb(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    channels_ = png_get_channels(png_, info_);
    row_bytes_ = png_get_rowbytes(png_, info_);
    return true;
  }
  bool read_rows(png_bytep* rows) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

  const char* message() const { return message_; }
  std::uint32_t width() const { return width_; }
  std::uint32_t height() const { return height_; }
  std::size_t channels() const { return channels_; }
  std::size_t row_bytes() const { return row_bytes_; }

 private:
  [[noreturn]] static void on_error(png_structp png, png_const_charp text) {
    auto* self = static_cast<PngReader*>(png_get_error_ptr(png));
    std::strncpy(self->message_, text, sizeof self->message_ - 1);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}
  static void on_read(png_structp png, png_bytep target, std::size_t size) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
    if (size > self->bytes_.size()) png_error(png, "the file ends too early");
    std::memcpy(target, self->bytes_.data(), size);
    self->bytes_ = self->bytes_.subspan(size);
  }

  std::span<const std::byte> bytes_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::uint32_t width_ = 0, height_ = 0;
  std::size_t channels_ = 0, row_bytes_ = 0;
  char message_[128] = {};
};

}  // namespace

Picture decode_png(std::span<const std::byte> bytes, const std::string& where, std::uint64_t max_pixels) {
  PngReader reader(bytes);
  const auto fail = [&] { throw Error(ErrorCode::kBadFile, where, fmt::format("not a valid PNG: {}", reader.message())); };
  if (!reader.read_header()) fail();
  check_pixels(reader.width(), reader.height(), max_pixels, where);
  const std::size_t width = reader.width(), height = reader.height();
  if ((reader.channels() != 3 && reader.channels() != 4) || reader.row_bytes() != width * reader.channels())
    throw Error(ErrorCode::kInternal, where, "a PNG of an unexpected form");
  std::vector<std::uint8_t> pixels(reader.row_bytes() * height);
  std::vector<png_bytep> rows(height);
  for (std::size_t y = 0; y < height; ++y) rows[y] = pixels.data() + y * reader.row_bytes();
  if (!reader.read_rows(rows.data())) fail();

  Picture picture{static_cast<int>(height), static_cast<int>(width), {}};
  if (reader.channels() == 3) {
    picture.rgb = std::move(pixels);
    return picture;
  }
  picture.rgb.resize(width * height * 3);
  for (std::size_t i = 0; i < width * height; ++i) {
    const unsigned alpha = pixels[4 * i + 3];
    for (std::size_t c = 0; c < 3; ++c)  // over white, to the nearest level
      picture.rgb[3 * i + c] = static_cast<std::uint8_t>((pixels[4 * i + c] * alpha + 255 * (255 - alpha) + 127) / 255);
  }
  return picture;
}

}  // namespace zeropoint::data
