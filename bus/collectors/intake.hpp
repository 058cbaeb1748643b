// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/base/histogram.hpp"
#include "bus/base/mutex.hpp"
#include "bus/base/result.hpp"
#include "bus/ledger/ledger.hpp"
#include "bus/ledger/series_table.hpp"
#include "bus/model/batch.hpp"
#include "bus/model/publisher_view.hpp"
#include "bus/pipeline/collector.hpp"
#include "bus/pipeline/stats.hpp"
#include "bus/wire/decoder.hpp"

namespace insight {

/// What every collector does with the bytes that its transport brings: decodes them, books them in
/// the Ledger, resolves series, collects points and spans into batches, and counts what it refuses.
///
/// Thread-safe; made for one collector thread that takes and delivers, and others that ask.
class Intake {
 public:
  /// `keep_messages`: segments hold the message as it came, also where no record is left.
  Intake(SeriesLimits limits, LedgerOptions ledger, std::shared_ptr<SeriesIds> ids,
         bool keep_messages = false);

  /// Takes one message in.  Its records wait for deliver().
  void take(std::string_view message, const Now& received) INSIGHT_EXCLUDES(mutex_);

  /// Counts a message that the transport found to be none: multipart, too_large.
  void refuse(Reason reason, uint64_t bytes) INSIGHT_EXCLUDES(mutex_);

  /// Hands over what was taken since the last call: at most one batch for each signal.
  void deliver(BatchReceiver& out) INSIGHT_EXCLUDES(mutex_);

  /// Ledger::step().
  void step(const Now& now) INSIGHT_EXCLUDES(mutex_);

  /// All but name, type, endpoints and is_open.
  CollectorStats stats() const INSIGHT_EXCLUDES(mutex_);
  std::vector<PublisherView> publishers(size_t limit = SIZE_MAX) const INSIGHT_EXCLUDES(mutex_);

  /// Returns when all that was taken before this call has been handed over (or after 1 s).
  void wait_delivered() const INSIGHT_EXCLUDES(mutex_);

  /// Ledger::save() and load().
  std::string save(const Now& now, bool is_clean) const INSIGHT_EXCLUDES(mutex_);
  Result<size_t> load(std::string_view bytes, const Now& now) INSIGHT_EXCLUDES(mutex_);

 private:
  struct Arrived {
    const wire::EnvelopeView& envelope;
    Ledger::Entry& entry;
    const Now& received;
    std::string_view message;  ///< to be kept; else empty
  };

  void count_refused(Reason reason, uint64_t bytes) INSIGHT_REQUIRES(mutex_);
  void drop(Reason reason, uint64_t records = 1) INSIGHT_REQUIRES(mutex_);
  void observe_latency(const wire::EnvelopeView& envelope, const Now& received)
      INSIGHT_REQUIRES(mutex_);
  Batch& open_batch(Signal signal, size_t records) INSIGHT_REQUIRES(mutex_);
  void close_segment(const Arrived& arrived, Batch& batch, size_t begin) INSIGHT_REQUIRES(mutex_);
  void take_points(const Arrived& arrived) INSIGHT_REQUIRES(mutex_);
  void take_family(const Arrived& arrived, const wire::FamilyView& group, Batch& batch)
      INSIGHT_REQUIRES(mutex_);
  KnownSeries* add_series(const Arrived& arrived, KnownFamily& family, std::string_view labels)
      INSIGHT_REQUIRES(mutex_);
  void take_spans(const Arrived& arrived) INSIGHT_REQUIRES(mutex_);

  // Constant after construction.
  const std::array<std::byte, 16> boot_ = boot_id();
  const bool keep_messages_;

  mutable Mutex mutex_;
  wire::Decoder decoder_ INSIGHT_GUARDED_BY(mutex_);
  SeriesTable table_ INSIGHT_GUARDED_BY(mutex_);  // outlives the entries of the Ledger
  Ledger ledger_ INSIGHT_GUARDED_BY(mutex_);
  std::array<std::shared_ptr<Batch>, kSignalCount> open_ INSIGHT_GUARDED_BY(mutex_);
  // What the last batch held: the next one takes its memory in one piece.
  std::array<size_t, kSignalCount> last_records_ INSIGHT_GUARDED_BY(mutex_){};
  std::array<size_t, kSignalCount> last_bytes_ INSIGHT_GUARDED_BY(mutex_){};
  CollectorStats counts_ INSIGHT_GUARDED_BY(mutex_);
  bool is_delivering_ INSIGHT_GUARDED_BY(mutex_) = false;
  uint64_t deliveries_ INSIGHT_GUARDED_BY(mutex_) = 0;
  mutable unsigned waiting_ INSIGHT_GUARDED_BY(mutex_) = 0;
  mutable Condition delivered_;
  std::array<DurationHistogram, kLatencyMethodCount> latency_;
};

}  // namespace insight
