// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>

#include <insight/insight.hpp>

namespace engine {

/// Why a request is over.
enum class Finish : uint8_t { stop, length, abort, count_ };

inline constexpr size_t kFinishes = static_cast<size_t>(Finish::count_);

inline const char* name_of(Finish reason) {
  constexpr std::array<const char*, kFinishes> kNames{"stop", "length", "abort"};
  return kNames[static_cast<size_t>(reason)];
}

/// What the engine tells of itself: all instruments, made once and kept, because looking one up by
/// its name costs a lock.  The names are those that inference engines have in common, so that
/// dashboards and alerts for them need another prefix and nothing else.
struct Telemetry {
  explicit Telemetry(const std::string& model) : labels{{"model_name", model}} {
    for (size_t i = 0; i < finished.size(); ++i) {
      insight::Labels with_reason = labels;
      with_reason.emplace_back("finished_reason", name_of(static_cast<Finish>(i)));
      finished[i] = publisher.counter("engine_request_success_total",
                                      "Requests that are over, by reason", with_reason);
      finished[i].add(0);  // shown from the start: a rate needs a value to begin with
    }
  }

  // What is left empty here comes from the environment: INSIGHT_ENDPOINT, INSIGHT_RUN...
  insight::Publisher publisher{{.service = "engine", .resource = {{"role", "rollout"}}}};
  insight::Labels labels;

  // From a fast model's microseconds to the minutes of a long queue.
  static constexpr std::array<double, 16> kBounds{1e-5,   2.5e-5, 5e-5, 1e-4,  2.5e-4, 0.001,
                                                  0.0025, 0.005,  0.01, 0.025, 0.05,   0.1,
                                                  0.25,   1,      5,    30};
  insight::Histogram time_to_first_token =
      publisher.histogram("engine_time_to_first_token_seconds", kBounds,
                          "From the arrival of a request to its first token", labels);
  insight::Histogram inter_token_latency =
      publisher.histogram("engine_inter_token_latency_seconds", kBounds,
                          "From one token of a request to the next", labels);
  insight::Histogram e2e_latency =
      publisher.histogram("engine_e2e_request_latency_seconds", kBounds,
                          "From the arrival of a request to its end", labels);
  insight::Histogram queue_time =
      publisher.histogram("engine_request_queue_time_seconds", kBounds,
                          "From the arrival of a request to its start", labels);

  // Replicas of one engine add up; how full a cache is does not.
  insight::Gauge running = publisher.gauge("engine_num_requests_running", "Requests in the batch",
                                           labels, insight::Merge::sum);
  insight::Gauge waiting = publisher.gauge("engine_num_requests_waiting", "Requests in the queue",
                                           labels, insight::Merge::sum);
  insight::Gauge cache_usage =
      publisher.gauge("engine_kv_cache_usage_perc", "Share of the cache that requests hold, 0 to 1",
                      labels, insight::Merge::max);

  insight::Counter prompt_tokens =
      publisher.counter("engine_prompt_tokens_total", "Tokens of prompts", labels);
  insight::Counter generation_tokens =
      publisher.counter("engine_generation_tokens_total", "Tokens generated", labels);
  insight::Counter cache_queries = publisher.counter(
      "engine_prefix_cache_queries_total", "Tokens of prompts looked up in the cache", labels);
  insight::Counter cache_hits = publisher.counter("engine_prefix_cache_hits_total",
                                                  "Tokens of prompts found in the cache", labels);
  std::array<insight::Counter, kFinishes> finished;
};

}  // namespace engine
