// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

namespace insight {

enum class LogFormat { text, json };

/// The daemon's log on standard error.  Thread-safe; a terminal that has gone away is survived.
/// One line per event of life, never one per record.  spdlog stands behind it, in log.cpp only.
class Logger {
 public:
  explicit Logger(LogFormat format);
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  void info(std::string_view sentence) const noexcept;
  void warn(std::string_view sentence) const noexcept;
  void error(std::string_view sentence) const noexcept;

  /// A logger that writes nothing, for tests.
  static Logger& none();

 private:
  Logger();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Lets a line through at most once per period, and says how many were held back.  Thread-bound.
class LogLimit {
 public:
  explicit LogLimit(uint64_t period_ns) : period_ns_(period_ns) {}

  /// True when the line may be written now; `held_back` is how many were not since the last.
  bool allows(uint64_t mono_ns, uint64_t& held_back) noexcept {
    if (last_ns_ != 0 && mono_ns - last_ns_ < period_ns_) {
      ++held_back_;
      return false;
    }
    last_ns_ = mono_ns;
    held_back = held_back_;
    held_back_ = 0;
    return true;
  }

 private:
  uint64_t period_ns_;
  uint64_t last_ns_ = 0;
  uint64_t held_back_ = 0;
};

}  // namespace insight
