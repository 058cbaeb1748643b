// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "bus/model/batch.hpp"
#include "bus/model/publisher_view.hpp"
#include "bus/pipeline/stats.hpp"

namespace insight {

/// Takes batches over.  Called from collector threads; never blocks, never throws.
class BatchReceiver {
 public:
  virtual ~BatchReceiver() = default;
  virtual void receive(std::shared_ptr<const Batch> batch) noexcept = 0;
};

/// Brings envelopes in by one transport.  Nothing outside of collectors/ knows which one a batch
/// came by.
class Collector {
 public:
  virtual ~Collector() = default;

  /// The table's name in the configuration.  Thread-safe.
  virtual std::string_view name() const noexcept = 0;

  /// Binds what is to be bound.  Throws std::runtime_error that names endpoint, holder and remedy.
  /// Called once, by the main thread, before run().
  virtual void open() = 0;

  /// Collects until `stop` is requested, then reads on for what already waits (at most 500 ms) and
  /// returns. Owns its thread meanwhile.
  virtual void run(BatchReceiver& out, std::stop_token stop) = 0;

  // Thread-safe, for status and metrics:
  virtual CollectorStats stats() const = 0;
  /// At most `limit` of them: those that live first, of each state the ones heard last.
  virtual std::vector<PublisherView> publishers(size_t limit) const = 0;
};

}  // namespace insight
