// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/run.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <exception>
#include <thread>

#include <unistd.h>

#include "bus/base/text.hpp"
#include "bus/broker/broker.hpp"
#include "bus/broker/version.hpp"
#include "bus/collectors/zmq_collector.hpp"

namespace insight {

namespace {

constexpr int kSecondSignal = 130;

class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    for (int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, number);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
    // A reader of our output that has gone away must not end the broker.
    std::signal(SIGPIPE, SIG_IGN);
    // A limit on the size of files is an error of the sink that meets it.
    std::signal(SIGXFSZ, SIG_IGN);
  }

  int wait() const {
    int number = 0;
    return sigwait(&set_, &number) == 0 ? number : SIGTERM;
  }

  /// 0 when none came in time.
  int wait_for(long milliseconds) const {
    const timespec timeout{0, milliseconds * 1'000'000};
    return std::max(0, sigtimedwait(&set_, nullptr, &timeout));
  }

 private:
  sigset_t set_{};
};

void say(const std::string& text) {
  // A terminal that is closed or a disk that is full is no reason to stop.
  (void)std::fwrite(text.data(), 1, text.size(), stdout);
  (void)std::fflush(stdout);
}

std::string http_address(const Broker& broker) {
  Endpoint address = broker.config().http;
  address.port = broker.http_port();
  if (address.host == "*" || address.host == "0.0.0.0") address.host = "127.0.0.1";
  if (address.host == "::") address.host = "::1";
  return address.text().substr(6);
}

std::string start_text(const Broker& broker) {
  const Status status = broker.status(0);
  const std::string http = http_address(broker);
  std::string out = "Insight Bus " + status.version + " \"" + status.name +
                    "\", configuration: " + broker.config().source + "\n";
  for (const CollectorStats& collector : status.collectors) {
    for (const std::string& endpoint : collector.endpoints) {
      out += "  publishers connect to  " + endpoint + "  (collector " + collector.name + ")\n";
    }
  }
  for (const Config::Sink& sink : broker.config().sinks) {
    if (std::ranges::find(status.sinks, sink.worker.name, &SinkSnapshot::name) ==
        status.sinks.end()) {
      continue;
    }
    out += "  records go to          sink " + sink.worker.name;
    if (sink.plugin->name != sink.worker.name) out += " (" + std::string(sink.plugin->name) + ")";
    if (sink.plugin->name == "prometheus") out += ": http://" + http + "/metrics";
    if (sink.plugin->name == "file") out += ": " + sink.table->text("directory");
    out += "\n";
  }
  out += "  totals are kept in     " +
         (status.state_directory.empty() ? "memory only" : status.state_directory) + "\n";
  const std::string flag = http == kDefaultHttp ? "" : " --http " + http;
  out += "  next: insightctl status" + flag + "   curl http://" + http + "/metrics\n";
  return out;
}

/// "12 stopped, 3 queue_full" over all sinks and signals, what still waits included.
std::string losses_of(const SinkSnapshot& sink) {
  std::string out;
  const auto add = [&out](uint64_t n, std::string_view why) {
    if (n != 0) out += (out.empty() ? "" : ", ") + std::to_string(n) + " " + std::string(why);
  };
  for (size_t r = 0; r < kReasonCount; ++r) {
    uint64_t n = 0;
    for (const ReasonArray& dropped : sink.dropped) n += dropped[r];
    add(n, to_string(static_cast<Reason>(r)));
  }
  uint64_t waiting = 0;
  for (uint64_t n : sink.queue_records) waiting += n;
  add(waiting, "unwritten");
  return out;
}

std::string stop_text(const Broker& broker, std::string_view how) {
  const Status status = broker.status(0);
  uint64_t received = 0, dropped = 0;
  for (const CollectorStats& collector : status.collectors) {
    for (uint64_t n : collector.records) received += n;
    for (uint64_t n : collector.records_dropped) dropped += n;
  }
  std::string out(how);
  out += " after " +
         format_duration((status.now.mono_ns - status.started_mono_ns) / kSecond * kSecond) + ": " +
         std::to_string(received) + " records received";
  if (dropped != 0) out += ", " + std::to_string(dropped) + " of them dropped at once";
  for (const SinkSnapshot& sink : status.sinks) {
    uint64_t delivered = 0;
    for (uint64_t n : sink.delivered) delivered += n;
    const std::string lost = losses_of(sink);
    out += "; sink " + sink.name + ": " + std::to_string(delivered) + " delivered, " +
           (lost.empty() ? "none lost" : "lost " + lost);
  }
  return out;
}

/// Ends the process without destructors: threads that hang would be waited for.
[[noreturn]] void end_process(int code) {
  (void)std::fflush(nullptr);
  _exit(code);
}

void stop_broker(Broker& broker, const Signals& signals, const Logger& log, int number) {
  const uint64_t timeout_ns = broker.config().stop_timeout_ns;
  log.info(std::string(number == SIGINT ? "SIGINT" : "SIGTERM") + ": stopping within " +
           format_duration(timeout_ns));
  const uint64_t deadline_ns = mono_now_ns() + timeout_ns;
  std::atomic<bool> is_done{false};  // released by the thread, acquired here
  bool in_time = false;
  std::thread stopper([&] {
    in_time = broker.stop(deadline_ns);
    is_done.store(true, std::memory_order_release);
  });
  while (!is_done.load(std::memory_order_acquire)) {
    const int second = signals.wait_for(10);
    if (second == SIGTERM || second == SIGINT) {
      log.warn(stop_text(broker, "a second signal cuts the stop short: ended"));
      end_process(kSecondSignal);
    }
  }
  stopper.join();
  if (in_time) {
    log.info(stop_text(broker, "stopped"));
  } else {
    log.warn(stop_text(broker, "stopped at the deadline, something hangs,"));
    end_process(0);
  }
}

}  // namespace

int run_broker(Config config, LogFormat format) {
  const Signals signals;
  raise_open_file_limit();
  const Logger log(format);
  std::unique_ptr<Broker> broker;
  try {
    broker = std::make_unique<Broker>(std::move(config), log);
    broker->start();
  } catch (const std::exception& e) {
    (void)std::fprintf(stderr, "insightctl: %s\n", e.what());
    if (broker != nullptr && !broker->stop(mono_now_ns() + kSecond)) end_process(1);
    return 1;
  }
  say(start_text(*broker));
  while (true) {
    const int number = signals.wait();
    if (number == SIGHUP) {
      log.info("SIGHUP: the configuration is not read again; restart the broker for that");
      continue;
    }
    stop_broker(*broker, signals, log, number);
    return 0;
  }
}

}  // namespace insight
