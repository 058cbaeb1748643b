// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/arena.hpp"
#include "bus/base/mutex.hpp"
#include "bus/model/resource.hpp"
#include "bus/model/series.hpp"

namespace insight {

/// 16 random bytes that name one process life of a publisher.
struct IncarnationId {
  std::array<unsigned char, 16> bytes{};

  auto operator<=>(const IncarnationId&) const = default;

  std::string_view view() const noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  bool is_zero() const noexcept { return *this == IncarnationId{}; }
};

struct IncarnationIdHash {
  size_t operator()(const IncarnationId& id) const noexcept {
    size_t hash;  // the id is random already
    std::memcpy(&hash, id.bytes.data(), sizeof hash);
    return hash;
  }
};

/// alive: heard within 1.5 beats.  late: within 3.  lost: silent for longer.  ended: it said bye.
enum class Life : uint8_t { alive, late, lost, ended };

std::string_view to_string(Life life) noexcept;

/// The gauge by which a publisher says that some work of its goes on.
inline constexpr std::string_view kProgressMetric = "insight_progress_timestamp_seconds";

/// Hands out the small dense numbers of Series, so that whoever keeps something per series can use
/// an array.  Thread-safe.  A number is used again only after its incarnation is gone.
class SeriesIds {
 public:
  uint32_t take();
  void give_back(const std::deque<Series>& series);
  size_t in_use() const;

 private:
  mutable Mutex mutex_;
  std::vector<uint32_t> free_ INSIGHT_GUARDED_BY(mutex_);
  uint32_t next_ INSIGHT_GUARDED_BY(mutex_) = 0;
};

/// One process life of a publisher, and the series that it has sent.
///
/// Thread-bound to its collector, but for what is said otherwise: others hold it by
/// `shared_ptr<const Incarnation>` and read the constants, `life()` and the series of points that
/// were handed to them.
class Incarnation {
 public:
  Incarnation(IncarnationId id, uint64_t t0_ns, Resource resource, uint64_t every_ns,
              std::shared_ptr<SeriesIds> ids);
  ~Incarnation();
  Incarnation(const Incarnation&) = delete;
  Incarnation& operator=(const Incarnation&) = delete;

  // Constant after construction.
  const IncarnationId id;
  const uint64_t t0_ns;  ///< its start, on its own wall clock
  const Resource resource;

  /// A beat comes at least this often.  Thread-safe.
  uint64_t every_ns() const noexcept { return every_ns_.load(std::memory_order_relaxed); }

  void set_every_ns(uint64_t ns) noexcept { every_ns_.store(ns, std::memory_order_relaxed); }

  /// Decided by the Ledger alone.  Thread-safe.  `life_since` is on the broker's monotonic clock.
  Life life() const noexcept { return life_.load(std::memory_order_acquire); }

  uint64_t life_since_mono_ns() const noexcept {
    return life_since_mono_ns_.load(std::memory_order_acquire);
  }

  void set_life(Life life, uint64_t mono_ns) noexcept {
    life_since_mono_ns_.store(mono_ns, std::memory_order_release);
    life_.store(life, std::memory_order_release);
  }

  /// Adds a series.  The label values are copied.
  const Series& add_series(std::shared_ptr<const Family> family,
                           std::span<const std::string_view> label_values);

  /// True when one of the series is of kProgressMetric.  Thread-safe.
  bool has_progress() const noexcept { return has_progress_.load(std::memory_order_relaxed); }

  size_t series_count() const noexcept { return series_.size(); }

  /// Bytes of memory held for series.
  size_t bytes() const noexcept;

 private:
  std::atomic<uint64_t> every_ns_;
  std::atomic<Life> life_{Life::alive};
  std::atomic<uint64_t> life_since_mono_ns_{0};
  std::atomic<bool> has_progress_{false};

  // The collector's thread only.
  std::shared_ptr<SeriesIds> ids_;
  std::deque<Series> series_;
  Arena labels_{1024};
};

}  // namespace insight
