// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/model/batch.hpp"
#include "bus/pipeline/stats.hpp"

namespace insight {

/// What became of a batch.  accepted: taken, less the points named in `dropped`.  retry: not now,
/// the same batch may succeed later.  rejected: the same batch can never succeed.
struct Delivery {
  enum class Outcome : uint8_t { accepted, retry, rejected };

  Outcome outcome = Outcome::accepted;
  std::string error;      ///< for retry and rejected, a sentence
  ReasonArray dropped{};  ///< records inside an accepted batch that were not taken, by reason
  uint64_t filtered = 0;  ///< records that the sink's table left out; the worker says it
};

/// What a sink says of itself for status and metrics.  Value.
struct SinkStatus {
  std::vector<SinkSnapshot::Refusal> refusals;
  std::string problem;  ///< see SinkSnapshot
  std::map<std::string, uint64_t> figures;
};

/// Writes batches to one backend.  Thread-bound: open, write, flush, idle and close are called from
/// the sink's own worker thread only, so implementations need no locks for them.
class Sink {
 public:
  virtual ~Sink() = default;

  /// Throws std::runtime_error; the worker tries again with backoff.
  virtual void open() = 0;

  virtual Delivery write(const Batch& batch) = 0;

  /// Makes durable what was accepted.  Called before close(), and when somebody must be sure (a
  /// publisher is only shown as ended after this returned).  Throws when it cannot.
  virtual void flush() {}

  /// Called about once a second while the sink is open, for work that time asks for.
  virtual void idle(const Now&) {}

  /// Safe without open(), safe twice.
  virtual void close() noexcept = 0;

  /// True when write() needs Segment::message.  Constant; asked before anything is collected.
  virtual bool needs_messages() const noexcept { return false; }

  /// Thread-safe: the one call from other threads.  Never waits for a call that hangs in the
  /// backend.
  virtual SinkStatus status() const { return {}; }
};

}  // namespace insight
