// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bus/base/log.hpp"
#include "bus/base/path_lock.hpp"
#include "bus/broker/config.hpp"
#include "bus/broker/end_check.hpp"
#include "bus/broker/progress_watch.hpp"
#include "bus/broker/taps.hpp"
#include "bus/http/http_server.hpp"
#include "bus/metrics/status.hpp"
#include "bus/pipeline/collector.hpp"
#include "bus/pipeline/fan_out.hpp"
#include "bus/pipeline/metrics_view.hpp"
#include "bus/pipeline/sink_worker.hpp"

namespace insight {

/// Collectors, sink workers and HTTP, put together from a configuration.
///
/// Thread-bound to main, but for status(): any thread.  Starts sinks, then collectors; stops in
/// reverse, so nothing is handed to something that no longer runs.
class Broker {
 public:
  /// Makes the parts; touches nothing outside of the process but the state directory.
  /// Throws std::runtime_error when another broker holds that one.
  Broker(Config config, const Logger& log);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// Binds and runs.  Throws std::runtime_error that names address, holder and remedy.
  void start();

  /// Collectors read on for what already waits, sinks drain, flush and close.  False when something
  /// still runs at the deadline: then end the process without destroying the Broker.
  bool stop(uint64_t deadline_mono_ns);

  /// With at most so many publishers of each collector by themselves.
  Status status(size_t publishers) const;

  const Config& config() const noexcept { return config_; }

  uint16_t http_port() const noexcept { return http_.port(); }

 private:
  struct RunningCollector {
    std::unique_ptr<Collector> collector;
    std::future<void> ended;
    std::jthread thread;
  };

  void open_state_directory();
  void make_sinks();
  void make_collectors();
  void add_routes();
  void wait_for_sinks();
  void run_collector(Collector& collector, std::promise<void> ended, const std::stop_token& stop);
  bool stop_collectors(uint64_t deadline_mono_ns);
  bool stop_workers(uint64_t deadline_mono_ns);
  bool has_delivered_all() const;
  std::vector<std::string> problems(const Status& status) const;
  std::vector<std::string> unready() const;
  HttpResponse metrics(const HttpRequest& request);
  HttpResponse publishers(const HttpRequest& request);
  HttpResponse series(const HttpRequest& request);
  HttpResponse metric_list(const MetricQuery& query);
  HttpResponse metric_detail(const std::string& name);

  // Constant after construction.
  const Config config_;
  const Logger& log_;
  const Now started_;
  std::string state_directory_;  // empty: memory only
  std::optional<PathLock> state_lock_;
  std::vector<MetricsView*> metrics_views_;  // of the sinks in workers_
  std::vector<std::unique_ptr<SinkWorker>> workers_;
  std::unique_ptr<FanOut> fan_out_;
  std::unique_ptr<Taps> taps_;
  std::unique_ptr<ProgressWatch> progress_;
  std::vector<RunningCollector> collectors_;

  // Thread-safe by themselves.
  std::unique_ptr<EndCheck> end_check_;
  HttpServer http_;  // the last one: its handlers read all the others
};

}  // namespace insight
