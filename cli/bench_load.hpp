// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/endpoint.hpp"
#include "bus/base/result.hpp"

namespace insight::cli {

/// Which records a load is made of, as shares.  Value.
struct BenchMix {
  uint64_t counter = 6;
  uint64_t gauge = 2;
  uint64_t histogram = 1;
  uint64_t span = 1;
};

/// "counter=6,gauge=2,histogram=1,span=1"; what is not named has no share.
Result<BenchMix> parse_mix(std::string_view text);

/// What publishers did so far.  Value.
struct LoadCounts {
  uint64_t recorded = 0;
  uint64_t dropped = 0;  ///< at the publisher: the socket took nothing for too long
  uint64_t sent = 0;     ///< taken by the socket; recorded = dropped + sent
  uint64_t envelopes = 0;
  uint64_t blocked_ns = 0;  ///< spent waiting for the socket

  LoadCounts& operator+=(const LoadCounts& other) noexcept;
  LoadCounts operator-(const LoadCounts& other) const noexcept;
};

/// Publishers that load a bus at a given rate, a thread each while they do.  Thread-bound.
///
/// They write envelopes with the encoder of the publisher library and send them through its socket.
/// The library itself would not do: it sends the state of its instruments four times a second, so
/// that there is no rate of records to set, and none is lost while the bus is slow.
class Load {
 public:
  Load(const Endpoint& endpoint, uint64_t publishers, const BenchMix& mix);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  /// Asked now and then while it waits: whether nobody wants to wait any longer.
  using IsStopped = std::function<bool()>;

  /// Waits until all are connected; false when they are not in time, or stopped.
  bool connect(uint64_t deadline_mono_ns, const IsStopped& is_stopped = [] { return false; });

  /// Records at `rate` a second over all publishers from now for so long, or until `stop`.  A
  /// record that is not sent `kLatestNs` after it was due is dropped.  Blocks until every record of
  /// that time is sent or dropped.
  void run(double rate, uint64_t duration_ns, const std::atomic<bool>& stop);

  /// Says bye and closes; what the sockets have taken still leaves, for a few seconds.
  void finish(const IsStopped& is_stopped = [] { return false; });

  LoadCounts counts() const;

  struct Publisher {
    std::string incarnation;  ///< hex
    uint64_t envelopes = 0;
  };

  std::vector<Publisher> publishers() const;

  static constexpr uint64_t kLatestNs = 1'000'000'000;
  static constexpr uint64_t kMaxPublishers = 64;
  static constexpr uint64_t kSeries = 1'000;  ///< all publishers have the same

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace insight::cli
