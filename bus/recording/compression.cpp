// SPDX-License-Identifier: Apache-2.0
#include "bus/recording/compression.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <optional>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "bus/base/unique_fd.hpp"

namespace insight {

namespace {

constexpr size_t kChunk = 1 << 17;
constexpr int kZstdLevel = 3;
constexpr int kGzipWindow = 15 + 16;  // zlib: the largest window, gzip's head
constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";
constexpr std::string_view kGzipMagic = "\x1f\x8b";  // a frame's length may begin with it, too

Error system_error(const std::string& path) { return Error{path + ": " + std::strerror(errno)}; }

/// Up to a buffer full; less only at the end of the file.  False when it cannot be read.
bool fill(int fd, std::vector<char>& buffer, size_t& got) {
  got = 0;
  while (got < buffer.size()) {
    const ssize_t n = ::read(fd, buffer.data() + got, buffer.size() - got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  return true;
}

/// Writes all; counts what it wrote.
class Output {
 public:
  explicit Output(int fd) : fd_(fd) {}

  bool write(const char* bytes, size_t size) {
    bytes_ += size;
    while (size > 0) {
      const ssize_t n = ::write(fd_, bytes, size);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      bytes += n;
      size -= static_cast<size_t>(n);
    }
    return true;
  }

  uint64_t bytes() const noexcept { return bytes_; }

 private:
  int fd_;
  uint64_t bytes_ = 0;
};

class Compressor {
 public:
  virtual ~Compressor() = default;
  virtual bool write(const char* bytes, size_t size, bool is_last, Output& out) = 0;
};

class ZstdCompressor final : public Compressor {
 public:
  ZstdCompressor() : context_(ZSTD_createCCtx()), room_(ZSTD_CStreamOutSize()) {
    if (!context_) throw std::bad_alloc();
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kZstdLevel);
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
  }

  bool write(const char* bytes, size_t size, bool is_last, Output& out) override {
    ZSTD_inBuffer in{bytes, size, 0};
    for (;;) {
      ZSTD_outBuffer to{room_.data(), room_.size(), 0};
      const size_t left =
          ZSTD_compressStream2(context_.get(), &to, &in, is_last ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left) != 0U || !out.write(room_.data(), to.pos)) return false;
      if (is_last ? left == 0 : in.pos == in.size) return true;
    }
  }

 private:
  struct Free {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  };

  std::unique_ptr<ZSTD_CCtx, Free> context_;
  std::vector<char> room_;
};

class GzipCompressor final : public Compressor {
 public:
  GzipCompressor() : room_(kChunk) {
    is_ready_ = deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindow, 8,
                             Z_DEFAULT_STRATEGY) == Z_OK;
  }

  ~GzipCompressor() override {
    if (is_ready_) deflateEnd(&stream_);
  }

  GzipCompressor(const GzipCompressor&) = delete;
  GzipCompressor& operator=(const GzipCompressor&) = delete;

  bool write(const char* bytes, size_t size, bool is_last, Output& out) override {
    if (!is_ready_) return false;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes));
    stream_.avail_in = static_cast<uInt>(size);
    int state = Z_OK;
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(room_.data());
      stream_.avail_out = static_cast<uInt>(room_.size());
      state = deflate(&stream_, is_last ? Z_FINISH : Z_NO_FLUSH);
      if (state == Z_STREAM_ERROR || !out.write(room_.data(), room_.size() - stream_.avail_out)) {
        return false;
      }
    } while (stream_.avail_out == 0);
    return !is_last || state == Z_STREAM_END;
  }

 private:
  z_stream stream_{};
  bool is_ready_ = false;
  std::vector<char> room_;
};

/// What went wrong; nothing when all was written.
std::optional<Error> compress(int from, const std::string& from_path, const std::string& to_path,
                              Compressor& compressor, Output& out, const std::stop_token& stop) {
  std::vector<char> buffer(kChunk);
  for (;;) {
    if (stop.stop_requested()) return Error{"stopped"};
    size_t got = 0;
    if (!fill(from, buffer, got)) return system_error(from_path);
    const bool is_last = got < buffer.size();
    if (!compressor.write(buffer.data(), got, is_last, out)) return system_error(to_path);
    if (is_last) return std::nullopt;
  }
}

}  // namespace

std::string_view to_string(Compression compression) noexcept {
  constexpr std::array<std::string_view, 3> names{"none", "zstd", "gzip"};
  return names[static_cast<size_t>(compression)];
}

std::string_view suffix_of(Compression compression) noexcept {
  constexpr std::array<std::string_view, 3> suffixes{"", ".zst", ".gz"};
  return suffixes[static_cast<size_t>(compression)];
}

Result<uint64_t> compress_file(const std::string& from, const std::string& to,
                               Compression compression, const std::stop_token& stop) {
  std::unique_ptr<Compressor> compressor;
  if (compression == Compression::zstd) {
    compressor = std::make_unique<ZstdCompressor>();
  } else {
    compressor = std::make_unique<GzipCompressor>();
  }
  const UniqueFd in(::open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!in) return system_error(from);
  const UniqueFd out(
      ::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!out) return system_error(to);
  Output output(out.get());
  std::optional<Error> error = compress(in.get(), from, to, *compressor, output, stop);
  if (!error && fsync(out.get()) != 0) error = system_error(to);
  if (!error) return output.bytes();
  unlink(to.c_str());
  return *error;
}

struct ByteSource::Impl {
  UniqueFd fd;
  Compression compression = Compression::none;
  std::vector<char> buffer = std::vector<char>(kChunk);
  size_t at = 0;   // of what was read
  size_t end = 0;  // of what was read
  bool is_at_end = false;
  bool is_inside = false;  // a compressed stream that has not ended
  std::string failure;
  bool is_unreadable = false;
  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> zstd{nullptr, ZSTD_freeDCtx};
  std::unique_ptr<z_stream, int (*)(z_stream*)> gzip{nullptr, inflate_end};

  static int inflate_end(z_stream* stream) {
    const int result = inflateEnd(stream);
    delete stream;
    return result;
  }

  bool more() {
    at = 0;
    if (fill(fd.get(), buffer, end)) return end > 0;
    failure = std::strerror(errno);
    is_unreadable = true;
    end = 0;
    return false;
  }

  /// Decompresses a step: reads from [at, end), writes into `room`; the bytes written.
  size_t step(char* room, size_t size) {
    if (compression == Compression::zstd) {
      ZSTD_inBuffer in{buffer.data(), end, at};
      ZSTD_outBuffer out{room, size, 0};
      const size_t left = ZSTD_decompressStream(zstd.get(), &out, &in);
      if (ZSTD_isError(left) != 0U) {
        failure = std::string("the compressed data is damaged: ") + ZSTD_getErrorName(left);
      }
      // Bytes may wait inside although all were read; the stream has ended only with 0.
      is_inside = left != 0;
      at = in.pos;
      return out.pos;
    }
    gzip->next_in = reinterpret_cast<Bytef*>(buffer.data() + at);
    gzip->avail_in = static_cast<uInt>(end - at);
    gzip->next_out = reinterpret_cast<Bytef*>(room);
    gzip->avail_out = static_cast<uInt>(size);
    // A gzip file may be several, one behind the other.
    if (!is_inside && gzip->avail_in > 0) inflateReset(gzip.get());
    const int state = inflate(gzip.get(), Z_NO_FLUSH);
    is_inside = state != Z_STREAM_END;
    if (state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR) {
      failure = std::string("the compressed data is damaged") +
                (gzip->msg != nullptr ? std::string(": ") + gzip->msg : std::string());
    }
    at = end - gzip->avail_in;
    return size - gzip->avail_out;
  }
};

ByteSource::ByteSource(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ByteSource::~ByteSource() = default;
ByteSource::ByteSource(ByteSource&&) noexcept = default;
ByteSource& ByteSource::operator=(ByteSource&&) noexcept = default;

Result<ByteSource> ByteSource::open(const std::string& path) {
  auto impl = std::make_unique<Impl>();
  // Opening a pipe that nobody writes to would wait for ever.
  impl->fd.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!impl->fd) return system_error(path);
  struct stat info{};
  if (fstat(impl->fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error{path + ": not a regular file"};
  }
  if (!impl->more() && !impl->failure.empty()) return Error{path + ": " + impl->failure};
  const std::string_view head(impl->buffer.data(), impl->end);
  if (head.starts_with(kZstdMagic)) {
    impl->compression = Compression::zstd;
    impl->zstd.reset(ZSTD_createDCtx());
  } else if (head.starts_with(kGzipMagic) && path.ends_with(suffix_of(Compression::gzip))) {
    impl->compression = Compression::gzip;
    impl->gzip.reset(new z_stream{});
    inflateInit2(impl->gzip.get(), kGzipWindow);
  }
  return ByteSource(std::move(impl));
}

size_t ByteSource::read(std::string& out) {
  Impl& impl = *impl_;
  const size_t before = out.size();
  if (impl.compression == Compression::none) {
    if (impl.at == impl.end && !impl.more()) return 0;
    out.append(impl.buffer.data() + impl.at, impl.end - impl.at);
    impl.at = impl.end;
    return out.size() - before;
  }
  out.resize(before + kChunk);
  size_t got = 0;
  while (got == 0 && impl.failure.empty() && !impl.is_at_end) {
    if (impl.at == impl.end && !impl.more()) {
      impl.is_at_end = true;
      if (impl.failure.empty() && !impl.is_inside) break;
      // What the decompressor still holds comes with an empty input.
      got = impl.step(out.data() + before, kChunk);
      impl.is_at_end = got == 0;
      if (impl.is_at_end && impl.is_inside && impl.failure.empty()) {
        impl.failure = "the compressed data is cut off";
      }
      continue;
    }
    got = impl.step(out.data() + before, kChunk);
  }
  out.resize(before + got);
  return got;
}

const std::string& ByteSource::failure() const noexcept { return impl_->failure; }

bool ByteSource::is_unreadable() const noexcept { return impl_->is_unreadable; }

}  // namespace insight
