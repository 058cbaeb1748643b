// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/broker.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <stdexcept>

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/base/text.hpp"
#include "bus/broker/series_json.hpp"
#include "bus/broker/status_json.hpp"
#include "bus/broker/version.hpp"
#include "bus/collectors/zmq_collector.hpp"
#include "bus/http/negotiate.hpp"
#include "bus/metrics/own_metrics.hpp"

namespace insight {

namespace {

using namespace std::chrono_literals;

constexpr auto kOpenWait = 2s;
constexpr auto kEndCheckWait = 500ms;
constexpr const char* kJson = "application/json";
constexpr const char* kText = "text/plain; version=0.0.4; charset=utf-8";
constexpr const char* kOpenMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// OpenMetrics only for those who name it: a browser or curl takes anything, and means text.
Exposition wanted_exposition(std::string_view accept) {
  const Wish text = wish_for(accept, "text/plain", "0.0.4");
  const Wish open_metrics = wish_for(accept, "application/openmetrics-text", "1.0.0");
  const bool is_preferred =
      open_metrics.quality > text.quality ||
      (open_metrics.is_named && open_metrics.quality > 0 && open_metrics.quality == text.quality);
  return is_preferred ? Exposition::open_metrics : Exposition::text;
}

std::chrono::nanoseconds until(uint64_t deadline_mono_ns) {
  const uint64_t now = mono_now_ns();
  return std::chrono::nanoseconds(deadline_mono_ns > now ? deadline_mono_ns - now : 0);
}

void name_thread(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());  // the kernel keeps 15 bytes
}

}  // namespace

Broker::Broker(Config config, const Logger& log)
    : config_(std::move(config)), log_(log), started_(read_clocks()) {
  open_state_directory();
  make_sinks();
  make_collectors();
  add_routes();
}

Broker::~Broker() = default;

void Broker::open_state_directory() {
  const std::string& wanted = config_.state_directory;
  if (wanted.empty()) {
    log_.warn(
        "there is no home, so no state directory: totals are lost with the process; set "
        "broker.state_dir");
    return;
  }
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(wanted).parent_path(), error);
  if (!error) ::mkdir(wanted.c_str(), 0700);
  const std::string path = wanted + "/broker";
  Result<PathLock> lock = PathLock::take(path);
  if (lock) {
    state_lock_.emplace(std::move(*lock));
    state_directory_ = wanted;
    return;
  }
  if (is_locked(path)) {
    throw std::runtime_error("the state directory " + wanted +
                             lock.error().message.substr(path.size()) +
                             "; stop it or set another broker.state_dir");
  }
  log_.warn("the state directory cannot be used, so totals are lost with the process: " +
            lock.error().message + "; set broker.state_dir");
}

void Broker::make_sinks() {
  SinkSettings settings{
      .log = log_,
      .state_directory = state_directory_,
      .resource_labels = config_.resource_labels,
      .series_limit = config_.limits.series,
      .series_per_metric_limit = config_.limits.series_per_metric,
      .reserved_metrics = own_metric_names(),
      .add_metrics_view = [this](MetricsView& view) { metrics_views_.push_back(&view); },
  };
  std::vector<SinkWorker*> workers;
  for (const Config::Sink& sink : config_.sinks) {
    if (config_.is_default && state_directory_.empty() && sink.plugin->name == "file") {
      log_.warn("no files are written either: nobody said where else");
      continue;
    }
    SinkWorkerOptions options = sink.worker;
    options.seed = started_.wall_ns ^ workers_.size();
    workers_.push_back(std::make_unique<SinkWorker>(sink.plugin->create(*sink.table, settings),
                                                    std::move(options), log_));
    workers.push_back(workers_.back().get());
  }
  fan_out_ = std::make_unique<FanOut>(workers);
  taps_ = std::make_unique<Taps>(*fan_out_);
  progress_ = std::make_unique<ProgressWatch>(*taps_);
}

void Broker::make_collectors() {
  const auto ids = std::make_shared<SeriesIds>();
  for (const Config::Collector& each : config_.collectors) {
    ZmqCollectorOptions options;
    options.name = each.name;
    options.endpoints = each.endpoints;
    options.insecure = each.insecure;
    options.state_directory = state_directory_;
    options.series = config_.limits;
    options.keep_messages = std::ranges::any_of(
        workers_, [](const auto& worker) { return worker->sink().needs_messages(); });
    RunningCollector running;
    running.collector = std::make_unique<ZmqCollector>(std::move(options), ids, log_);
    collectors_.push_back(std::move(running));
  }
}

void Broker::start() {
  for (RunningCollector& each : collectors_) {
    try {
      each.collector->open();
    } catch (const std::exception& e) {
      throw std::runtime_error("collector " + std::string(each.collector->name()) + ": " +
                               e.what() + "; free it or choose another endpoint");
    }
  }
  std::vector<SinkWorker*> workers;
  for (const auto& worker : workers_) {
    worker->start();
    workers.push_back(worker.get());
  }
  wait_for_sinks();
  end_check_ = std::make_unique<EndCheck>(
      std::move(workers), state_directory_.empty() ? "" : state_directory_ + "/ended.ids",
      mono_now_ns());
  http_.start(config_.http);
  for (RunningCollector& each : collectors_) {
    std::promise<void> ended;
    each.ended = ended.get_future();
    each.thread = std::jthread(
        [this, &each](const std::stop_token& stop, std::promise<void> end) {
          run_collector(*each.collector, std::move(end), stop);
        },
        std::move(ended));
  }
}

void Broker::wait_for_sinks() {
  // The first scrape then already shows the totals of before.  A sink that cannot be opened is
  // tried again by its worker; nobody waits for it.
  const auto has_tried = [](const auto& worker) {
    const SinkSnapshot sink = worker->snapshot();
    return sink.has_opened || !sink.last_error.empty();
  };
  const auto deadline = std::chrono::steady_clock::now() + kOpenWait;
  while (!std::ranges::all_of(workers_, has_tried) && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(2ms);
  }
}

void Broker::run_collector(Collector& collector, std::promise<void> ended,
                           const std::stop_token& stop) {
  const std::string name(collector.name());
  name_thread("col:" + name);
  try {
    collector.run(*progress_, stop);
  } catch (const std::exception& e) {
    // Everything else goes on; /readyz and the status show that nothing comes in here.
    log_.error("collector " + name + " ended: " + e.what());
  }
  ended.set_value();
}

bool Broker::stop(uint64_t deadline_mono_ns) {
  taps_->stop();
  if (end_check_) end_check_->request_stop();
  const bool collectors_ended = stop_collectors(deadline_mono_ns);
  const bool workers_ended = stop_workers(deadline_mono_ns);
  if (!collectors_ended || !workers_ended) return false;
  http_.stop();
  if (end_check_ && has_delivered_all()) end_check_->finish(status(SIZE_MAX).publishers);
  end_check_.reset();
  return true;
}

bool Broker::has_delivered_all() const {
  return std::ranges::all_of(workers_, [](const auto& worker) {
    const SinkSnapshot sink = worker->snapshot();
    return std::ranges::all_of(sink.dropped, [](const ReasonArray& dropped) {
      return dropped[static_cast<size_t>(Reason::stopped)] == 0;
    });
  });
}

bool Broker::stop_collectors(uint64_t deadline_mono_ns) {
  for (RunningCollector& each : collectors_) each.thread.request_stop();
  bool all_ended = true;
  for (RunningCollector& each : collectors_) {
    if (!each.ended.valid()) continue;  // never started
    const bool has_ended =
        each.ended.wait_for(until(deadline_mono_ns)) == std::future_status::ready;
    if (has_ended && each.thread.joinable()) each.thread.join();
    all_ended = all_ended && has_ended;
  }
  return all_ended;
}

bool Broker::stop_workers(uint64_t deadline_mono_ns) {
  // All at once: one that hangs must not take the time in which the others drain.
  std::vector<std::future<bool>> results;
  for (const auto& worker : workers_) {
    results.push_back(std::async(std::launch::async, [&worker, deadline_mono_ns] {
      return worker->stop(until(deadline_mono_ns));
    }));
  }
  bool all_ended = true;
  for (std::future<bool>& result : results) all_ended = result.get() && all_ended;
  return all_ended;
}

Status Broker::status(size_t publishers) const {
  Status out;
  out.now = read_clocks();
  out.name = config_.name;
  out.version = version();
  out.revision = revision();
  out.started_wall_ns = started_.wall_ns;
  out.started_mono_ns = started_.mono_ns;
  out.pid = getpid();
  out.cpu_ns = process_cpu_ns();
  out.state_directory = state_directory_;
  out.series_per_metric_limit = config_.limits.series_per_metric;
  out.series_per_publisher_limit = config_.limits.series_per_publisher;
  for (const RunningCollector& each : collectors_) {
    out.collectors.push_back(each.collector->stats());
    if (publishers == 0) continue;
    std::vector<PublisherView> views = each.collector->publishers(publishers);
    std::ranges::move(views, std::back_inserter(out.publishers));
  }
  for (const auto& worker : workers_) out.sinks.push_back(worker->snapshot());
  out.taps = taps_->stats();
  if (publishers > 0) out.progress = progress_->ages(out.now.mono_ns);
  out.problems = problems(out);
  return out;
}

std::vector<std::string> Broker::problems(const Status& status) const {
  std::vector<std::string> out;
  for (const CollectorStats& collector : status.collectors) {
    if (!collector.is_open) out.push_back("collector " + collector.name + " is not open");
    if (!collector.problem.empty()) {
      out.push_back("collector " + collector.name + ": " + to_utf8(collector.problem));
    }
  }
  for (const SinkSnapshot& sink : status.sinks) {
    if (!sink.problem.empty()) out.push_back("sink " + sink.name + ": " + to_utf8(sink.problem));
    if (sink.is_up) continue;
    out.push_back("sink " + sink.name + " is down" +
                  (sink.last_error.empty() ? "" : ": " + to_utf8(sink.last_error)));
  }
  if (state_directory_.empty() && !config_.state_directory.empty()) {
    out.push_back("the state directory " + config_.state_directory +
                  " cannot be used: totals are lost with the process");
  }
  return out;
}

std::vector<std::string> Broker::unready() const {
  std::vector<std::string> out;
  for (const RunningCollector& each : collectors_) {
    if (!each.collector->stats().is_open) {
      out.push_back("collector " + std::string(each.collector->name()) + " is not open");
    }
  }
  for (const auto& worker : workers_) {
    const SinkSnapshot sink = worker->snapshot();
    if (sink.has_opened) continue;
    out.push_back("sink " + sink.name + " is not open" +
                  (sink.last_error.empty() ? "" : ": " + sink.last_error));
  }
  return out;
}

void Broker::add_routes() {
  http_.route("GET", "/", [](const HttpRequest&) {
    return HttpResponse{
        .body =
            "Insight Bus\n\n"
            "/metrics             for Prometheus\n"
            "/status              how the broker is, JSON\n"
            "/api/v1/publishers   who sends, JSON\n"
            "/api/v1/series       series, limits, refusals, JSON; ?name=GLOB, ?explain=NAME\n"
            "/api/v1/tap          live records, JSON lines\n"
            "/healthz  /readyz    for probes\n"};
  });
  http_.route("GET", "/metrics", [this](const HttpRequest& request) { return metrics(request); });
  http_.route("GET", "/healthz", [](const HttpRequest&) { return HttpResponse{.body = "ok\n"}; });
  http_.route("GET", "/readyz", [this](const HttpRequest&) {
    const std::vector<std::string> reasons = unready();
    if (reasons.empty()) return HttpResponse{.body = "ready\n"};
    HttpResponse response{.status = 503};
    for (const std::string& reason : reasons) response.body += reason + "\n";
    return response;
  });
  const auto show_status = [this](const HttpRequest&) {
    return HttpResponse{.content_type = kJson, .body = status_json(status(0))};
  };
  http_.route("GET", "/status", show_status);
  http_.route("GET", "/api/v1/status", show_status);
  http_.route("GET", "/api/v1/series",
              [this](const HttpRequest& request) { return series(request); });
  http_.route("GET", "/api/v1/publishers",
              [this](const HttpRequest& request) { return publishers(request); });
  http_.route("GET", "/api/v1/tap",
              [this](const HttpRequest& request) { return taps_->open(request); });
}

HttpResponse Broker::metrics(const HttpRequest& request) {
  const Exposition exposition = wanted_exposition(request.accept);
  const bool is_open_metrics = exposition == Exposition::open_metrics;
  HttpResponse response{.content_type = is_open_metrics ? kOpenMetrics : kText,
                        .body = render_own_metrics(status(kMaxPublishersShown), exposition)};
  response.vary = "Accept";
  for (MetricsView* view : metrics_views_) {
    // A sink that is stuck has no page; what the bus says of itself is served all the same.
    if (const Result<std::string> page = view->page(exposition)) response.body += *page;
  }
  if (is_open_metrics) response.body += "# EOF\n";
  return response;
}

HttpResponse Broker::publishers(const HttpRequest& request) {
  const Result<PublisherQuery> query = parse_publisher_query(request.query);
  if (!query) return {.status = 400, .body = query.error().message + "\n"};
  Status all = status(SIZE_MAX);
  if (end_check_) end_check_->apply(all.publishers, kEndCheckWait);
  return {.content_type = kJson, .body = publishers_json(all, *query)};
}

HttpResponse Broker::series(const HttpRequest& request) {
  if (request.query.empty()) return {.content_type = kJson, .body = series_json(status(0))};
  const Result<SeriesQuery> query = parse_series_query(request.query);
  if (!query) return {.status = 400, .body = query.error().message + "\n"};
  return query->explain.empty() ? metric_list(query->list) : metric_detail(query->explain);
}

HttpResponse Broker::metric_list(const MetricQuery& query) {
  std::vector<MetricSummary> own;
  if (query.name.starts_with("insight"))
    own = own_metrics_like(query.name, status(kMaxPublishersShown));
  MetricQuery from_the_start = query;
  if (!own.empty()) from_the_start = {query.name, query.by_name, 0, query.offset + query.limit};
  Result<MetricList> list = MetricList{};
  if (!metrics_views_.empty()) list = metrics_views_.front()->list(from_the_start);
  if (!list) return {.status = 503, .body = list.error().message + "\n"};
  if (!own.empty()) add_metrics(*list, std::move(own), query);
  return {.content_type = kJson, .body = metric_list_json(*list, !metrics_views_.empty())};
}

HttpResponse Broker::metric_detail(const std::string& name) {
  Status now = status(kMaxPublishersShown);
  Result<MetricAnswer> answer = MetricAnswer{};
  if (!metrics_views_.empty()) answer = metrics_views_.front()->explain(name);
  if (!answer) return {.status = 503, .body = answer.error().message + "\n"};
  if (!answer->metric) add_own_metric(*answer, name, now);
  return {.content_type = kJson,
          .body = metric_answer_json(*answer, name, now, !metrics_views_.empty())};
}

}  // namespace insight
