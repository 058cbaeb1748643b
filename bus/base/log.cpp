// SPDX-License-Identifier: Apache-2.0
#include "bus/base/log.hpp"

#include <string>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace insight {

namespace {

constexpr const char* kTextPattern = "%Y-%m-%dT%H:%M:%S.%eZ %l %v";
constexpr const char* kJsonPattern =
    R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","message":"%v"})";

std::string json_escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += ' ';
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

struct Logger::Impl {
  std::shared_ptr<spdlog::logger> log;
  bool is_json = false;

  void write(spdlog::level::level_enum level, std::string_view sentence) const noexcept {
    try {
      if (is_json) {
        log->log(level, "{}", json_escape(sentence));
      } else {
        log->log(level, "{}", sentence);
      }
    } catch (...) {
      // A log that cannot be written (closed terminal, full disk) must not stop what it tells
      // about.
      return;
    }
  }
};

Logger::Logger() = default;

Logger::Logger(LogFormat format) : impl_(std::make_unique<Impl>()) {
  auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  impl_->log = std::make_shared<spdlog::logger>("insight", std::move(sink));
  impl_->is_json = format == LogFormat::json;
  impl_->log->set_pattern(impl_->is_json ? kJsonPattern : kTextPattern,
                          spdlog::pattern_time_type::utc);
  impl_->log->flush_on(spdlog::level::info);
  impl_->log->set_error_handler([](const std::string&) {});
}

Logger::~Logger() = default;

void Logger::info(std::string_view sentence) const noexcept {
  if (impl_) impl_->write(spdlog::level::info, sentence);
}

void Logger::warn(std::string_view sentence) const noexcept {
  if (impl_) impl_->write(spdlog::level::warn, sentence);
}

void Logger::error(std::string_view sentence) const noexcept {
  if (impl_) impl_->write(spdlog::level::err, sentence);
}

Logger& Logger::none() {
  static Logger logger;
  return logger;
}

}  // namespace insight
