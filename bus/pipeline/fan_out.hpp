// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "bus/pipeline/collector.hpp"
#include "bus/pipeline/sink_worker.hpp"

namespace insight {

/// Hands every batch to every SinkWorker.  Thread-safe: collectors call it at the same time.
/// The list of workers is set before collectors start and does not change.
class FanOut final : public BatchReceiver {
 public:
  explicit FanOut(std::vector<SinkWorker*> workers) : workers_(std::move(workers)) {}

  void receive(std::shared_ptr<const Batch> batch) noexcept override {
    for (SinkWorker* worker : workers_) worker->offer(batch);
  }

 private:
  // Constant after construction.
  std::vector<SinkWorker*> workers_;
};

}  // namespace insight
