// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "bus/model/line_format.hpp"
#include "bus/pipeline/sink_plugin.hpp"
#include "sinks/file/rotating_file.hpp"
#include "sinks/file_sample.hpp"

namespace insight {

namespace {

constexpr size_t kChunk = 65536;  // of one write(2)
constexpr uint64_t kSmallestFile = 65536;
constexpr int64_t kMostFiles = 10'000;
constexpr std::string_view kStateDirectory = "{state_dir}";

struct Options {
  std::string name;
  std::string directory;  ///< empty: there is none
  uint64_t file_bytes = 64 << 20;
  uint64_t keep = 4;
};

bool is_full(const std::system_error& e) {
  return e.code() == std::errc::no_space_on_device || e.code().value() == EDQUOT;
}

class FileSink final : public Sink {
 public:
  FileSink(Options options, const Logger& log)
      : options_(std::move(options)),
        log_(log),
        file_(options_.directory, options_.name, options_.keep) {}

  void open() override {
    if (options_.directory.empty()) {
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

  void close() noexcept override { file_.close(); }

  SinkStatus status() const override {
    return {.figures = {{"files", files_},
                        {"bytes", bytes_},
                        {"removed_for_space", removed_for_space_},
                        {"torn_lines", torn_lines_}}};
  }

 private:
  /// How far a batch came that is written in several tries.
  struct Progress {
    IncarnationId incarnation;
    uint64_t seq = 0;
    size_t done = 0;         // records before this one lie in files that are whole
    uint64_t too_large = 0;  // of those, not written
    uint64_t offset = 0;     // where the rest begins in the file that grows
  };

  void open_in_place();
  uint64_t write_rest(const Batch& batch, Progress& progress);
  void append_line(const Batch& batch, size_t record);
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
  std::atomic<uint64_t> torn_lines_{0};
};

void FileSink::open_in_place() {
  // Also when the directory was removed: with it went the lock.
  if (file_.is_open() && !file_.is_in_place()) file_.close();
  file_.open();
}

Delivery FileSink::write(const Batch& batch) {
  if (batch.segments.empty()) return {};
  Progress& progress = progress_[static_cast<size_t>(batch.signal)];
  const Segment& first = batch.segments.front();
  if (progress.incarnation != first.incarnation->id || progress.seq != first.seq) {
    progress = {.incarnation = first.incarnation->id, .seq = first.seq};
  }
  Delivery delivery;
  for (;;) {
    try {
      open_in_place();
      delivery.dropped[static_cast<size_t>(Reason::too_large)] = write_rest(batch, progress);
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
    }
  }
  tell();
  return delivery;
}

/// Writes from `progress.done` on, a file after the other; how many records of the batch were too
/// large.
uint64_t FileSink::write_rest(const Batch& batch, Progress& progress) {
  progress.offset = file_.size();
  uint64_t too_large = progress.too_large;
  text_.clear();
  for (const Segment& segment : batch.segments) {
    if (segment.end <= progress.done) continue;
    format_.begin(segment);
    for (size_t i = std::max(segment.begin, progress.done); i < segment.end; ++i) {
      const size_t before = text_.size();
      append_line(batch, i);
      if (text_.size() - before > options_.file_bytes) {
        text_.resize(before);
        ++too_large;
      }
      if (file_.size() + text_.size() > options_.file_bytes) {
        file_.append(std::string_view(text_).substr(0, before));
        file_.rotate();
        progress.done = i;
        progress.too_large = too_large;
        progress.offset = 0;
        text_.erase(0, before);
        file_.open();
      }
      if (text_.size() >= kChunk) {
        file_.append(text_);
        text_.clear();
      }
    }
  }
  file_.append(text_);
  return too_large;
}

void FileSink::append_line(const Batch& batch, size_t record) {
  if (batch.signal == Signal::spans) {
    format_.append(batch.spans[record], text_);
  } else if (batch.points[record].changed) {
    format_.append(batch.points[record], text_);
  }
}

/// Takes out of the file what the failed try has put there, so that the next one doubles nothing.
void FileSink::roll_back(const Progress& progress) noexcept {
  if (!file_.is_open() || file_.size() == progress.offset) return;
  try {
    file_.truncate(progress.offset);
  } catch (const std::exception&) {
    file_.close();  // open() cuts off at least the line that is not whole
  }
}

bool FileSink::make_space() {
  const std::optional<std::string> removed = file_.remove_oldest();
  if (!removed) return false;
  ++removed_for_space_;
  log_.warn("sink " + options_.name + ": disk full, removed " + *removed);
  return true;
}

void FileSink::tell() noexcept {
  files_ = file_.files();
  bytes_ = file_.bytes();
  torn_lines_ = file_.torn_lines();
}

constexpr std::array<ConfigKey, 4> kKeys{{
    {"directory", "path", "{state_dir}/telemetry",
     "where the files lie; relative to the state directory"},
    {"format", "string", "jsonl", "\"jsonl\": one JSON object a line"},
    {"rotate.bytes", "size", "64MiB", "no file becomes larger"},
    {"rotate.keep", "integer", "4", "how many files are kept, the one that grows among them"},
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

std::unique_ptr<Sink> create(const SinkConfig& config, const SinkSettings& settings) {
  Options options;
  options.name = file_name(config.name());
  options.directory = absolute_directory(config.text("directory"), settings.state_directory);
  if (config.text("format") != "jsonl") config.wrong("format", "\"jsonl\"");
  options.file_bytes = config.size_bytes("rotate.bytes");
  if (options.file_bytes < kSmallestFile) config.wrong("rotate.bytes", "at least 64KiB");
  const int64_t keep = config.integer("rotate.keep");
  if (keep < 1 || keep > kMostFiles) config.wrong("rotate.keep", "a number from 1 to 10000");
  options.keep = static_cast<uint64_t>(std::clamp<int64_t>(keep, 1, kMostFiles));
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
