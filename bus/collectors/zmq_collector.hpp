// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "bus/base/endpoint.hpp"
#include "bus/base/log.hpp"
#include "bus/base/path_lock.hpp"
#include "bus/base/unique_fd.hpp"
#include "bus/collectors/intake.hpp"
#include "bus/pipeline/collector.hpp"
#include "bus/transport/context.hpp"
#include "bus/transport/pull_socket.hpp"

namespace insight {

struct ZmqCollectorOptions {
  std::string name;
  std::vector<Endpoint> endpoints;
  bool insecure = false;        ///< allows endpoints that other machines can reach
  std::string state_directory;  ///< for the Ledger's snapshot; empty: none is kept
  SeriesLimits series;
  LedgerOptions ledger;
  bool keep_messages = false;  ///< Segment::message is filled in
};

/// Takes envelopes from one ZeroMQ PULL socket that is bound to any number of endpoints.
///
/// Messages that wait are taken together, so that many small envelopes become one batch.
class ZmqCollector final : public Collector {
 public:
  ZmqCollector(ZmqCollectorOptions options, std::shared_ptr<SeriesIds> ids, const Logger& log);
  ~ZmqCollector() override;

  std::string_view name() const noexcept override { return options_.name; }

  void open() override;
  void run(BatchReceiver& out, std::stop_token stop) override;
  CollectorStats stats() const override;
  std::vector<PublisherView> publishers(size_t limit) const override;

 private:
  void bind(const Endpoint& endpoint);
  void load_ledger();
  void save_ledger(const Now& now, bool is_clean);
  bool take_waiting(BatchReceiver& out);
  void do_chores(const Now& now);

  // Constant after construction.
  const ZmqCollectorOptions options_;
  const Logger& log_;
  const std::string ledger_path_;
  Intake intake_;

  // Made by open(), then the collector's thread only.
  transport::Context context_;
  std::unique_ptr<transport::PullSocket> socket_;
  std::vector<PathLock> locks_;
  uint64_t next_step_ns_ = 0;
  uint64_t next_save_ns_ = 0;
  uint64_t messages_ = 0;
  uint64_t saved_messages_ = 0;
  uint64_t cut_ = 0;
  uint64_t accept_failed_ = 0;
  LogLimit save_log_{60 * kSecond};
  LogLimit accept_log_{60 * kSecond};

  // Constant after open().
  std::vector<std::string> bound_;
  std::atomic<bool> is_open_{false};  // its release store publishes bound_ to stats()
  std::atomic<bool> is_saved_{true};  // the ledger, at the last try
};

/// Raises the limit of open files to what the system allows: each connection takes one.  For the
/// broker's start.
void raise_open_file_limit() noexcept;

}  // namespace insight
