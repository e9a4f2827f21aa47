#include <fmt/format.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
// jpeglib.h needs stdio's types before it
#include <jerror.h>
#include <jpeglib.h>

#include "data/decode.h"

namespace zeropoint::data {
namespace {

// A progressive file can repeat scans over the whole picture for ever; real ones have about 10.
constexpr int kMostScans = 200;

// libjpeg leaves by longjmp. So each method that calls it sets its own return point first and has no objects with destructors.
class JpegReader {
 public:
  explicit JpegReader(std::span<const std::byte> bytes) : bytes_(bytes) {
    jpeg_.err = jpeg_std_error(&errors_);
    jpeg_.client_data = this;
    errors_.error_exit = on_error;
    errors_.emit_message = on_message;
    errors_.output_message = [](j_common_ptr) {};
    progress_.progress_monitor = on_progress;
  }
  ~JpegReader() { jpeg_destroy_decompress(&jpeg_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  bool read_header() {
    if (setjmp(jump_) != 0) return false;
    jpeg_create_decompress(&jpeg_);
    jpeg_.progress = &progress_;
    jpeg_mem_src(&jpeg_, reinterpret_cast<const unsigned char*>(bytes_.data()), static_cast<unsigned long>(bytes_.size()));
    jpeg_read_header(&jpeg_, TRUE);
    // libjpeg cannot turn four colours into three.
    const bool cmyk = jpeg_.jpeg_color_space == JCS_CMYK || jpeg_.jpeg_color_space == JCS_YCCK;
    jpeg_.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    return true;
  }
  bool read_rows(std::uint8_t* pixels) {
    if (setjmp(jump_) != 0) return false;
    jpeg_start_decompress(&jpeg_);
    const std::size_t row_bytes = std::size_t{jpeg_.output_width} * static_cast<std::size_t>(jpeg_.output_components);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      JSAMPROW row = pixels + jpeg_.output_scanline * row_bytes;
      jpeg_read_scanlines(&jpeg_, &row, 1);
    }
    jpeg_finish_decompress(&jpeg_);
    return true;
  }

  const char* message() const { return message_; }
  bool truncated() const { return truncated_; }
  std::uint32_t width() const { return jpeg_.image_width; }
  std::uint32_t height() const { return jpeg_.image_height; }
  bool cmyk() const { return jpeg_.out_color_space == JCS_CMYK; }
  bool inverted() const { return jpeg_.saw_Adobe_marker != FALSE; }

 private:
  static JpegReader& self(j_common_ptr jpeg) { return *static_cast<JpegReader*>(jpeg->client_data); }
  [[noreturn]] static void on_error(j_common_ptr jpeg) {
    JpegReader& reader = self(jpeg);
    jpeg->err->format_message(jpeg, reader.message_);
    std::longjmp(reader.jump_, 1);
  }
  // Warnings are about data that libjpeg replaces by something: only missing data make a picture unusable.
  static void on_message(j_common_ptr jpeg, int level) {
    const int code = jpeg->err->msg_code;
    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) self(jpeg).truncated_ = true;
  }
  static void on_progress(j_common_ptr jpeg) {
    if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number <= kMostScans) return;
    std::strcpy(self(jpeg).message_, "it has too many scans");
    std::longjmp(self(jpeg).jump_, 1);
  }

  std::span<const std::byte> bytes_;
  jpeg_decompress_struct jpeg_{};
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf jump_;
  bool truncated_ = false;
  char message_[JMSG_LENGTH_MAX] = {};
};

// c * part of white, divided by 255 to the nearest.
unsigned scaled(unsigned c, unsigned part) { return (c * part + 127) / 255; }

}  // namespace

Picture decode_jpeg(std::span<const std::byte> bytes, const std::string& where, std::uint64_t max_pixels) {
  JpegReader reader(bytes);
  const auto fail = [&](const char* reason) {
    throw Error(ErrorCode::kBadFile, where, fmt::format("not a valid JPEG: {}", reason));
  };
  if (!reader.read_header()) fail(reader.message());
  check_pixels(reader.width(), reader.height(), max_pixels, where);
  const std::size_t width = reader.width(), height = reader.height();
  Picture picture{static_cast<int>(height), static_cast<int>(width), {}};
  std::vector<std::uint8_t> pixels(width * height * (reader.cmyk() ? 4 : 3));
  if (!reader.read_rows(pixels.data())) fail(reader.message());
  if (reader.truncated()) fail("it ends too early");
  if (!reader.cmyk()) {
    picture.rgb = std::move(pixels);
    return picture;
  }
  picture.rgb.resize(width * height * 3);
  for (std::size_t i = 0; i < width * height; ++i) {
    // Adobe writes the complements of the inks.
    const std::uint8_t flip = reader.inverted() ? 0xFF : 0;
    const unsigned light = 255U - (pixels[4 * i + 3] ^ flip);
    for (std::size_t c = 0; c < 3; ++c) {
      const unsigned ink = pixels[4 * i + c] ^ flip;
      picture.rgb[3 * i + c] = static_cast<std::uint8_t>(light - scaled(ink, light));
    }
  }
  return picture;
}

}  // namespace zeropoint::data
