// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>

#include "bus/broker/config.hpp"

namespace insight::test {

/// A sink that forgets everything.
class FakeSink : public Sink {
 public:
  void open() override {}

  Delivery write(const Batch&) override { return {}; }

  void close() noexcept override {}
};

/// Shows nothing.
class FakeView : public MetricsView {
 public:
  Result<std::string> page(Exposition) override { return std::string(); }

  Result<MetricList> list(const MetricQuery&) override { return MetricList{}; }

  Result<MetricAnswer> explain(const std::string&) override { return MetricAnswer{}; }
};

inline constexpr std::array<ConfigKey, 8> kFakeKeys{{
    {"directory", "path", "{state_dir}/telemetry", ""},
    {"rotate.bytes", "size", "64MiB", ""},
    {"rotate.keep", "integer", "4", ""},
    {"format", "string", "jsonl", ""},
    {"ratio", "number", "0.5", ""},
    {"linger", "duration", "60s", ""},
    {"snapshot", "boolean", "true", ""},
    {"words", "strings", R"(["a"])", ""},
}};
inline constexpr std::array<Signal, 2> kBoth{Signal::metrics, Signal::spans};
inline constexpr std::array<Signal, 1> kMetrics{Signal::metrics};

/// Accepts the formats jsonl and csv; more than 9 files to keep are too many.
inline std::unique_ptr<Sink> create_file(const SinkConfig& config, const SinkSettings&) {
  const std::string format = config.text("format");
  if (format != "jsonl" && format != "csv") config.wrong("format", "\"jsonl\" or \"csv\"");
  if (config.integer("rotate.keep") > 9) config.wrong("rotate.keep", "at most 9");
  return std::make_unique<FakeSink>();
}

inline std::unique_ptr<Sink> create_plain(const SinkConfig&, const SinkSettings& settings) {
  struct Both final : FakeSink, FakeView {};

  auto sink = std::make_unique<Both>();
  settings.add_metrics_view(*sink);
  return sink;
}

inline std::unique_ptr<Sink> create_picky(const SinkConfig&, const SinkSettings&) {
  throw std::runtime_error("not on this machine");
}

inline constexpr SinkPlugin kFile{"file", "", kFakeKeys, kBoth, create_file};
inline constexpr SinkPlugin kPrometheus{"prometheus", "", {}, kMetrics, create_plain};
inline constexpr SinkPlugin kPicky{"picky", "", {}, kBoth, create_picky};
inline constexpr std::array<const SinkPlugin*, 3> kPlugins{&kFile, &kPrometheus, &kPicky};

}  // namespace insight::test
