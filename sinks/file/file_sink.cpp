// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "bus/base/clock.hpp"
#include "bus/model/line_format.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "bus/recording/frame.hpp"
#include "sinks/file/rotating_file.hpp"
#include "sinks/file_sample.hpp"

namespace insight {

namespace {

constexpr size_t kChunk = 65536;  // of one write(2)
constexpr uint64_t kSmallestFile = 65536;
constexpr int64_t kMostFiles = 10'000;
constexpr std::string_view kStateDirectory = "{state_dir}";

struct Options {
  RotatingFileOptions file;  ///< without a directory when there is none
  uint64_t file_bytes = 64 << 20;
};

bool is_full(const std::system_error& e) {
  return e.code() == std::errc::no_space_on_device || e.code().value() == EDQUOT;
}

class FileSink final : public Sink {
 public:
  FileSink(Options options, const Logger& log)
      : options_(std::move(options)), log_(log), file_(options_.file) {}

  void open() override {
    if (options_.file.directory.empty()) {
      throw std::runtime_error("there is no state directory; set `directory`");
    }
    open_in_place();
    tell();
  }

  Delivery write(const Batch& batch) override;

  void flush() override {
    // After an error the file was closed, yet what was accepted before may still wait for the disk.
    open_in_place();
    file_.sync();
  }

  /// Files become whole and are compressed also when nothing is written.
  void idle(const Now& now) override {
    if (file_.is_open()) rotate_when_due(now.wall_ns);
    compress();
    tell();
  }

  void close() noexcept override { file_.close(); }

  bool needs_messages() const noexcept override {
    return options_.file.format == FileFormat::envelope;
  }

  SinkStatus status() const override {
    return {.figures = {{"files", files_},
                        {"bytes", bytes_},
                        {"removed_for_space", removed_for_space_},
                        {needs_messages() ? "torn_frames" : "torn_lines", torn_},
                        {"damaged_files", damaged_},
                        {"compression_failures", compression_failures_}}};
  }

 private:
  /// How far a batch came that is written in several tries.
  struct Progress {
    IncarnationId incarnation;
    uint64_t seq = 0;
    size_t done = 0;     // pieces before this one lie in files that are whole
    ReasonArray lost{};  // records of those that were not written
    // Where the rest begins in the file that grows; nothing before this try writes.
    std::optional<uint64_t> offset;
  };

  void open_in_place();
  void rotate_when_due(uint64_t wall_ns);
  void compress() noexcept;
  ReasonArray write_rest(const Batch& batch, Progress& progress, uint64_t wall_ns);
  size_t pieces(const Batch& batch) const;
  void append_piece(const Batch& batch, size_t piece, size_t& segment);
  void roll_back(const Progress& progress) noexcept;
  bool make_space();
  void tell() noexcept;

  // Constant after construction.
  const Options options_;
  const Logger& log_;

  // Worker thread only.
  RotatingFile file_;
  LineFormat format_;
  std::string text_;
  std::array<Progress, kSignalCount> progress_;

  // Written by the worker thread, read by status().
  std::atomic<uint64_t> files_{0};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> removed_for_space_{0};
  std::atomic<uint64_t> torn_{0};
  std::atomic<uint64_t> damaged_{0};
  std::atomic<uint64_t> compression_failures_{0};
};

void FileSink::open_in_place() {
  // Also when the directory was removed: with it went the lock.
  if (file_.is_open() && !file_.is_in_place()) file_.close();
  const uint64_t damaged = file_.damaged();
  file_.open();
  if (file_.damaged() > damaged) {
    log_.warn("sink " + options_.file.name + ": " + file_.path() +
              " was damaged and has got a number; a new one is begun");
  }
}

void FileSink::rotate_when_due(uint64_t wall_ns) {
  if (!file_.is_due(wall_ns)) return;
  file_.rotate();
  file_.open();
}

/// What goes wrong here is no failure of the batch that was just written.
void FileSink::compress() noexcept {
  try {
    const std::optional<Error> error = file_.compress_next();
    if (!error) return;
    ++compression_failures_;
    log_.warn("sink " + options_.file.name + ": a file stays as it is: " + error->message);
  } catch (const std::exception&) {
    ++compression_failures_;  // no memory for more than that
  }
}

Delivery FileSink::write(const Batch& batch) {
  if (batch.segments.empty()) return {};
  Progress& progress = progress_[static_cast<size_t>(batch.signal)];
  const Segment& first = batch.segments.front();
  if (progress.incarnation != first.incarnation->id || progress.seq != first.seq) {
    progress = {.incarnation = first.incarnation->id, .seq = first.seq};
  }
  Delivery delivery;
  const uint64_t wall_ns = wall_now_ns();
  for (;;) {
    try {
      progress.offset.reset();
      open_in_place();
      rotate_when_due(wall_ns);
      delivery.dropped = write_rest(batch, progress, wall_ns);
      progress = {};
      break;
    } catch (const std::system_error& e) {
      roll_back(progress);
      if (is_full(e) && make_space()) continue;
      // The descriptor may be what is wrong.
      if (!is_full(e)) file_.close();
      delivery = {.outcome = Delivery::Outcome::retry, .error = e.what()};
      break;
    } catch (const std::runtime_error& e) {
      delivery = {.outcome = Delivery::Outcome::retry, .error = e.what()};
      break;
    } catch (const std::bad_alloc&) {
      roll_back(progress);
      throw;
    }
  }
  compress();
  tell();
  return delivery;
}

/// Writes from `progress.done` on, a file after the other; how many records were not written.
ReasonArray FileSink::write_rest(const Batch& batch, Progress& progress, uint64_t wall_ns) {
  progress.offset = file_.size();
  ReasonArray lost = progress.lost;
  text_.clear();
  size_t segment = batch.segments.size();  // none is begun
  for (size_t i = progress.done; i < pieces(batch); ++i) {
    const size_t before = text_.size();
    append_piece(batch, i, segment);
    if (text_.size() - before > options_.file_bytes) {
      text_.resize(before);
      const Segment& frame = batch.segments[segment];
      lost[static_cast<size_t>(Reason::too_large)] +=
          needs_messages() ? frame.end - frame.begin : 1;
    }
    if (file_.size() + text_.size() > options_.file_bytes) {
      file_.append(std::string_view(text_).substr(0, before), wall_ns);
      file_.rotate();
      progress.done = i;
      progress.lost = lost;
      progress.offset = 0;
      text_.erase(0, before);
      file_.open();
    }
    if (text_.size() >= kChunk) {
      file_.append(text_, wall_ns);
      text_.clear();
    }
  }
  file_.append(text_, wall_ns);
  return lost;
}

/// What is written as a whole or not at all: a record, or the message of an envelope.
size_t FileSink::pieces(const Batch& batch) const {
  return needs_messages() ? batch.segments.size() : batch.records();
}

/// `segment` is the one of the piece before, and becomes the one of this.
void FileSink::append_piece(const Batch& batch, size_t piece, size_t& segment) {
  if (needs_messages()) {
    segment = piece;
    append_frame(batch.segments[piece].received_ns, batch.segments[piece].message, text_);
    return;
  }
  if (segment == batch.segments.size() || batch.segments[segment].end <= piece) {
    if (segment == batch.segments.size()) segment = 0;
    while (batch.segments[segment].end <= piece) ++segment;
    format_.begin(batch.segments[segment]);
  }
  if (batch.signal == Signal::spans) {
    format_.append(batch.spans[piece], text_);
  } else if (batch.points[piece].changed) {
    format_.append(batch.points[piece], text_);
  }
}

/// Takes out of the file what the failed try has put there, so that the next one doubles nothing.
void FileSink::roll_back(const Progress& progress) noexcept {
  if (!progress.offset || !file_.is_open() || file_.size() == *progress.offset) return;
  try {
    file_.truncate(*progress.offset);
  } catch (const std::exception&) {
    file_.close();  // open() cuts off at least the line that is not whole
  }
}

bool FileSink::make_space() {
  const std::optional<std::string> removed = file_.remove_oldest();
  if (!removed) return false;
  ++removed_for_space_;
  log_.warn("sink " + options_.file.name + ": disk full, removed " + *removed);
  return true;
}

void FileSink::tell() noexcept {
  files_ = file_.files();
  bytes_ = file_.bytes();
  torn_ = file_.torn();
  damaged_ = file_.damaged();
}

constexpr std::array<ConfigKey, 6> kKeys{{
    {"directory", "path", "{state_dir}/telemetry",
     "where the files lie; relative to the state directory"},
    {"format", "string", "jsonl",
     "\"jsonl\": one JSON object a line; \"envelope\": messages as they came, for replay"},
    {"rotate.bytes", "size", "64MiB", "no file becomes larger"},
    {"rotate.every", "duration", "0s", "a file holds at most one period; \"0s\": any time"},
    {"rotate.keep", "integer", "4", "how many files are kept, the one that grows among them"},
    {"rotate.compress", "string", "none", "files that are whole: \"zstd\", \"gzip\" or \"none\""},
}};
constexpr std::array<Signal, 2> kSignals{Signal::metrics, Signal::spans};

/// Absolute, so that a working directory that vanishes later changes nothing.
std::string absolute_directory(std::string directory, const std::string& state_directory) {
  if (directory.starts_with(kStateDirectory)) {
    if (state_directory.empty()) return {};
    return state_directory + directory.substr(kStateDirectory.size());
  }
  if (directory.empty() || directory.front() == '/') return directory;
  return state_directory.empty() ? std::string() : state_directory + "/" + directory;
}

/// A table's name may hold anything, a file's name should not.
std::string file_name(std::string_view name) {
  std::string result(name);
  for (char& c : result) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    if (!is_plain) c = '_';
  }
  if (!result.empty() && result.front() == '.') result.front() = '_';
  return result;
}

/// What the table would change: a message that is kept as it came cannot be changed.
constexpr std::array<std::string_view, 6> kChangingKeys{"include", "exclude", "rename",
                                                        "prefix",  "labels",  "scale"};

FileFormat read_format(const SinkConfig& config) {
  const std::string format = config.text("format");
  if (format == "jsonl") return FileFormat::jsonl;
  if (format != "envelope") {
    config.wrong("format", "\"jsonl\" or \"envelope\"");
    return FileFormat::jsonl;
  }
  for (const std::string_view key : kChangingKeys) {
    if (!config.has(key)) continue;
    config.wrong(key,
                 "no such key beside format = \"envelope\", which keeps messages as they came");
  }
  return FileFormat::envelope;
}

Compression read_compression(const SinkConfig& config) {
  const std::string name = config.text("rotate.compress");
  for (const auto each : {Compression::none, Compression::zstd, Compression::gzip}) {
    if (name == to_string(each)) return each;
  }
  config.wrong("rotate.compress", "\"zstd\", \"gzip\" or \"none\"");
  return Compression::none;
}

std::unique_ptr<Sink> create(const SinkConfig& config, const SinkSettings& settings) {
  Options options;
  RotatingFileOptions& file = options.file;
  file.name = file_name(config.name());
  file.directory = absolute_directory(config.text("directory"), settings.state_directory);
  file.format = read_format(config);
  file.compression = read_compression(config);
  file.every_ns = config.duration_ns("rotate.every");
  if (file.every_ns != 0 && file.every_ns < kSecond) {
    config.wrong("rotate.every", "at least \"1s\", or \"0s\"");
  }
  options.file_bytes = config.size_bytes("rotate.bytes");
  if (options.file_bytes < kSmallestFile) config.wrong("rotate.bytes", "at least 64KiB");
  const int64_t keep = config.integer("rotate.keep");
  if (keep < 1 || keep > kMostFiles) config.wrong("rotate.keep", "a number from 1 to 10000");
  file.keep = static_cast<uint64_t>(std::clamp<int64_t>(keep, 1, kMostFiles));
  return std::make_unique<FileSink>(std::move(options), settings.log);
}

}  // namespace

extern constinit const SinkPlugin file_sink_plugin{
    .name = "file",
    .sample_config = file_sample_config,
    .keys = kKeys,
    .signals = kSignals,
    .create = create,
};

}  // namespace insight
