// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <chrono>
#include <thread>

#include "bus/pipeline/sink_plugin.hpp"
#include "sinks/null_sample.hpp"

namespace insight {

namespace {

class NullSink final : public Sink {
 public:
  explicit NullSink(std::chrono::nanoseconds delay) : delay_(delay) {}

  void open() override {}

  Delivery write(const Batch&) override {
    if (delay_.count() > 0) std::this_thread::sleep_for(delay_);
    return {};
  }

  void close() noexcept override {}

 private:
  // Constant after construction.
  std::chrono::nanoseconds delay_;
};

constexpr std::array<ConfigKey, 1> kKeys{{
    {"delay", "duration", "0s", "each write takes that long, as with a slow or hanging backend"},
}};
constexpr std::array<Signal, 2> kSignals{Signal::metrics, Signal::spans};

std::unique_ptr<Sink> create(const SinkConfig& config, const SinkSettings&) {
  return std::make_unique<NullSink>(std::chrono::nanoseconds(config.duration_ns("delay")));
}

}  // namespace

extern constinit const SinkPlugin null_sink_plugin{
    .name = "null",
    .sample_config = null_sample_config,
    .keys = kKeys,
    .signals = kSignals,
    .create = create,
};

}  // namespace insight
