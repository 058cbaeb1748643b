// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "bus/base/mutex.hpp"
#include "bus/model/publisher_view.hpp"
#include "bus/pipeline/sink_worker.hpp"

namespace insight {

/// Makes sure that a publisher is shown as ended only when every sink has made durable what it
/// sent: who reads `ended` may count on its totals, also over a kill of the broker.  Which ones
/// that are is kept in a file: what the Ledger's snapshot calls ended may never have reached a
/// sink.
///
/// Thread-safe.  A thread of its own waits for the sinks, so that a sink that hangs holds nobody
/// up.
class EndCheck {
 public:
  /// The workers must live longer.  `path` of the file, empty: none.  `start_mono_ns`: who was not
  /// heard since then is known from a snapshot only.
  EndCheck(std::vector<SinkWorker*> workers, std::string path, uint64_t start_mono_ns);

  /// Waits at most `timeout` for the sinks.  In `views`, what is not yet durable becomes `alive` or
  /// `late` again, and `lost` what no sink may ever have seen.
  void apply(std::vector<PublisherView>& views, std::chrono::milliseconds timeout)
      INSIGHT_EXCLUDES(mutex_);

  /// Asks the thread to end; call it before the workers are stopped.
  void request_stop() noexcept { thread_.request_stop(); }

  /// After a stop in which every sink took everything: all that ended count as durable.
  void finish(const std::vector<PublisherView>& views) INSIGHT_EXCLUDES(mutex_);

 private:
  void run(const std::stop_token& stop) INSIGHT_EXCLUDES(mutex_);
  bool checkpoint(const std::stop_token& stop);
  uint64_t ask(const std::vector<PublisherView>& views) INSIGHT_REQUIRES(mutex_);
  void load() INSIGHT_REQUIRES(mutex_);
  std::string durable_ids(uint64_t round) INSIGHT_REQUIRES(mutex_);
  bool save(const std::string& ids) const;

  bool is_from_snapshot(const PublisherView& view) const {
    return view.last_seen_mono_ns <= start_mono_ns_;
  }

  // Constant after construction.
  std::vector<SinkWorker*> workers_;
  std::string path_;
  uint64_t start_mono_ns_;

  Mutex mutex_;
  Condition changed_;
  // Requests are numbered; a round answers all that came before it.
  uint64_t requested_ INSIGHT_GUARDED_BY(mutex_) = 0;
  uint64_t tried_ INSIGHT_GUARDED_BY(mutex_) = 0;
  uint64_t durable_ INSIGHT_GUARDED_BY(mutex_) = 0;
  uint64_t round_started_ns_ INSIGHT_GUARDED_BY(mutex_) = 0;  // 0: none runs
  // The request in which an incarnation was first seen as ended; 0: durable since before.
  std::map<IncarnationId, uint64_t> asked_ INSIGHT_GUARDED_BY(mutex_);

  std::jthread thread_;  // the last member: it is joined before the others go
};

}  // namespace insight
