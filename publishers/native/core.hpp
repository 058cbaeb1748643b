// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/mutex.hpp"
#include "bus/model/incarnation.hpp"
#include "publishers/native/drops.hpp"
#include "publishers/native/metric_table.hpp"
#include "publishers/native/process.hpp"
#include "publishers/native/settings.hpp"
#include "publishers/native/span_record.hpp"
#include "publishers/native/span_ring.hpp"
#include "publishers/native/state_table.hpp"
#include <insight/insight.hpp>

namespace insight::native {

class Sender;

/// Cumulative since the incarnation began.  Thread-safe.
struct Accounts {
  Drops drops;
  std::atomic<uint64_t> spans{0};  ///< records of spans that were made, dropped ones too
  std::atomic<uint64_t> spans_sent{0};
  std::atomic<uint64_t> envelopes_sent{0};
  std::atomic<uint64_t> bytes_sent{0};
  std::atomic<uint64_t> again{0};  ///< times that the socket had no room
  std::atomic<bool> has_said_bye{false};
};

/// One process life of a publisher.  Value.
struct Identity {
  IncarnationId inc;
  uint64_t t0_ns = 0;
  std::string resource;   ///< P(resource)
  bool is_child = false;  ///< begun by a fork: silent until something is recorded
};

/// What a Publisher and all its handles share.  Thread-safe; lives as long as any of them.
class Core {
 public:
  /// Spans wait in at most this much memory.
  static constexpr size_t kMaxRings = (32 << 20) / SpanRing::kBytes;

  /// Registers with the process and starts the flush thread.  Owned by the one reference that it
  /// begins with.
  Core(Process& process, Settings settings);

  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }

  void release() noexcept;

  // What the application does; all of it by slow paths but for recording itself.

  Instrument* find_or_add(const MetricTable::Request& request, const Labels& labels);
  Instrument* child(const Instrument& parent, const Labels& labels);
  /// Adds when the inline path could not.
  void add(uint32_t cell, double n) noexcept;
  /// The thread's record, made where there is none; null when there is no memory.
  Thread* ensure_thread() noexcept;
  /// Takes an encoded span of the calling thread, or counts it as dropped.
  void record(Thread& thread, std::string_view span) noexcept;
  /// The number of a state that begins; 0 when it shall be recorded as a span instead.
  uint64_t begin_state(const SpanRecord& span);
  void end_state(uint64_t id, const SpanRecord& span, uint64_t end_ns) noexcept;

  /// True in a forked child until the first slow path.
  bool needs_restart() const noexcept { return needs_restart_.load(std::memory_order_relaxed); }

  void restart_if_needed() noexcept;

  bool is_closed() const noexcept { return is_closed_.load(std::memory_order_relaxed); }

  /// Asks the flush thread to end; close() then waits for it.
  void request_close(uint64_t deadline_ns) noexcept;
  void close(uint64_t deadline_ns) noexcept;

  uint64_t exit_deadline() const noexcept { return settings.exit_deadline_ns; }

  PublisherStatus status() const;

  // For fork.
  void expect_restart() noexcept { needs_restart_.store(true, std::memory_order_relaxed); }

  /// Called by the process under its lock, which clang does not recognise as `process.mutex`.
  void restart() noexcept INSIGHT_TSA(no_thread_safety_analysis);

  // For the flush thread.

  /// The rings, without those whose threads are gone and whose spans are sent.
  std::vector<std::shared_ptr<SpanRing>> rings() INSIGHT_REQUIRES(process.mutex);
  void set_connection(bool is_connected, const std::string& endpoint)
      INSIGHT_REQUIRES(process.mutex);

  // Constant after construction.
  Process& process;
  const Settings settings;

  Accounts accounts;
  MetricTable table INSIGHT_GUARDED_BY(process.mutex);
  StateTable states INSIGHT_GUARDED_BY(process.mutex);

 private:
  ~Core();

  void start() noexcept INSIGHT_REQUIRES(process.mutex);
  SpanRing* ring_of(Thread& thread) noexcept;

  std::atomic<uint64_t> references_{1};
  std::atomic<bool> needs_restart_{false};
  std::atomic<bool> is_closed_{false};
  Identity identity_ INSIGHT_GUARDED_BY(process.mutex);
  std::shared_ptr<Sender> sender_ INSIGHT_GUARDED_BY(process.mutex);  // null: no thread runs
  bool is_joined_ INSIGHT_GUARDED_BY(process.mutex) = false;
  std::vector<std::shared_ptr<SpanRing>> rings_ INSIGHT_GUARDED_BY(process.mutex);
  bool is_connected_ INSIGHT_GUARDED_BY(process.mutex) = false;
  std::string endpoint_ INSIGHT_GUARDED_BY(process.mutex);
};

}  // namespace insight::native
