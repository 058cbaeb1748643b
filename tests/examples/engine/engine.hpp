// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <vector>

#include "tests/examples/engine/kv_cache.hpp"
#include "tests/examples/engine/model.hpp"
#include "tests/examples/engine/telemetry.hpp"

namespace engine {

using Clock = std::chrono::steady_clock;

struct Request {
  std::string prompt;
  size_t max_tokens = 0;
  std::function<void(std::string_view)>
      answer;  ///< called once, by the engine's thread; may be empty
  Clock::time_point arrived = Clock::now();
};

/// Requests that wait for a place in the batch.  Thread-safe.
class RequestQueue {
 public:
  void push(Request request);
  /// From now on nothing is taken in.
  void close();
  /// Waits for a request, for the end or for so long.
  void wait(std::chrono::milliseconds at_most);
  /// The oldest request, where `is_wanted` says so.
  std::optional<Request> pop_if(const std::function<bool(const Request&)>& is_wanted);
  size_t size() const;
  /// Closed, and nothing waits.
  bool is_over() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Request> waiting_;
  bool is_closed_ = false;
};

struct EngineOptions {
  size_t batch = 8;  ///< requests that run at the same time
  size_t cache_blocks = 256;
  Clock::duration step{};  ///< a step takes at least so long, as that of a large model does
  uint64_t seed = 1;
};

/// What the engine counted itself, to be compared with what the bus shows.
struct Totals {
  uint64_t started = 0, first_tokens = 0;
  uint64_t prompt_tokens = 0, cache_hits = 0, generation_tokens = 0;
  std::array<uint64_t, kFinishes> finished{};
};

/// Generates with continuous batching: each step takes in what waits and fits, makes one token for
/// each request of the batch, and lets go what is finished.  Thread-bound: the thread that calls
/// run().
class Engine {
 public:
  Engine(const Model& model, RequestQueue& queue, Telemetry& telemetry,
         const EngineOptions& options);

  /// Until the queue is over; when a stop is requested, what runs and waits is aborted.
  void run(const std::stop_token& stop);

  const Totals& totals() const { return totals_; }

 private:
  struct Running {
    Request request;
    Sequence sequence;
    insight::ActiveSpan span;  ///< ends with it
    Clock::time_point last_token{};
    size_t generated = 0;
    std::optional<Finish> finished{};
  };

  size_t running_count() const;
  void step();
  void admit();
  Running start(Request request, Sequence sequence, const std::string& lane);
  void generate(Running& running);
  void finish(Running& running, Finish reason);
  void finish(const Request& request, std::string_view answer, Finish reason);
  void show();
  void report() const;

  // Constant after construction.
  const Model& model_;
  RequestQueue& queue_;
  Telemetry& telemetry_;
  EngineOptions options_;

  std::mt19937_64 random_;
  KvCache cache_;
  std::vector<std::optional<Running>> batch_;  ///< a place each; empty: free
  Totals totals_;
};

}  // namespace engine
