// SPDX-License-Identifier: Apache-2.0
#include "tests/examples/engine/engine.hpp"

#include <algorithm>
#include <cstdio>
#include <thread>
#include <utility>

namespace engine {

using namespace std::chrono_literals;

namespace {

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

void RequestQueue::push(Request request) {
  {
    const std::lock_guard lock(mutex_);
    if (is_closed_) return;
    waiting_.push_back(std::move(request));
  }
  changed_.notify_one();
}

void RequestQueue::close() {
  {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
  }
  changed_.notify_one();
}

void RequestQueue::wait(std::chrono::milliseconds at_most) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, at_most, [this] { return is_closed_ || !waiting_.empty(); });
}

std::optional<Request> RequestQueue::pop_if(const std::function<bool(const Request&)>& is_wanted) {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty() || !is_wanted(waiting_.front())) return std::nullopt;
  std::optional<Request> request = std::move(waiting_.front());
  waiting_.pop_front();
  return request;
}

size_t RequestQueue::size() const {
  const std::lock_guard lock(mutex_);
  return waiting_.size();
}

bool RequestQueue::is_over() const {
  const std::lock_guard lock(mutex_);
  return is_closed_ && waiting_.empty();
}

Engine::Engine(const Model& model, RequestQueue& queue, Telemetry& telemetry,
               const EngineOptions& options)
    : model_(model),
      queue_(queue),
      telemetry_(telemetry),
      options_(options),
      random_(options.seed),
      cache_(options.cache_blocks),
      batch_(std::max<size_t>(options.batch, 1)) {}

size_t Engine::running_count() const {
  return static_cast<size_t>(
      std::ranges::count_if(batch_, [](const auto& place) { return place.has_value(); }));
}

void Engine::run(const std::stop_token& stop) {
  auto next_report = Clock::now() + 2s;
  while (!stop.stop_requested() && !(running_count() == 0 && queue_.is_over())) {
    // Also while there is nothing to do: a loop that waits is alive, one that hangs is not.
    telemetry_.publisher.progress("engine_loop", 1s);
    if (running_count() == 0) {
      show();
      queue_.wait(250ms);
    }
    const auto began = Clock::now();
    step();
    if (began >= next_report) {
      next_report = began + 2s;
      report();
    }
    std::this_thread::sleep_until(began + options_.step);
  }
  queue_.close();
  for (auto& place : batch_) {
    if (place) finish(*place, Finish::abort);
    place.reset();
  }
  while (const auto request = queue_.pop_if([](const Request&) { return true; })) {
    finish(*request, {}, Finish::abort);
  }
  show();
}

void Engine::step() {
  admit();
  show();
  for (auto& place : batch_) {
    if (!place) continue;
    generate(*place);
    if (place->finished) {
      finish(*place, *place->finished);
      place.reset();
    }
  }
}

void Engine::admit() {
  for (size_t i = 0; i < batch_.size(); ++i) {
    if (batch_[i]) continue;
    std::optional<Sequence> sequence;
    auto request = queue_.pop_if([&](const Request& oldest) {
      if (!cache_.could_hold(oldest.prompt.size() + oldest.max_tokens)) return true;
      sequence = cache_.reserve(oldest.prompt, oldest.max_tokens);
      return sequence.has_value();
    });
    if (!request) return;
    if (sequence) {
      batch_[i] = start(std::move(*request), std::move(*sequence), "slot_" + std::to_string(i));
    } else {
      finish(*request, {}, Finish::abort);
    }
  }
}

Engine::Running Engine::start(Request request, Sequence sequence, const std::string& lane) {
  const size_t length = request.prompt.size();
  // Current in this scope: what is observed here takes its exemplar from it, and prefill is its
  // child.
  auto span = telemetry_.publisher.span("generate", {.lane = lane});
  span.attribute("prompt_tokens", static_cast<int64_t>(length));
  span.attribute("cached_tokens", static_cast<int64_t>(sequence.reused()));

  telemetry_.queue_time.observe(seconds(Clock::now() - request.arrived));
  telemetry_.prompt_tokens.add(static_cast<double>(length));
  telemetry_.cache_queries.add(static_cast<double>(length));
  telemetry_.cache_hits.add(static_cast<double>(sequence.reused()));
  ++totals_.started;
  totals_.prompt_tokens += length;
  totals_.cache_hits += sequence.reused();

  {
    const auto prefill = telemetry_.publisher.span("prefill", {.lane = lane});
    while (sequence.text().size() < length) {
      sequence.append(request.prompt[sequence.text().size()], model_);
    }
  }
  return {.request = std::move(request), .sequence = std::move(sequence), .span = std::move(span)};
}

void Engine::generate(Running& running) {
  auto& [request, sequence, span, last_token, generated, finished] = running;
  const insight::SpanScope current(span);
  const char token = sample(model_.next(sequence.text(), sequence.entries()), random_);
  sequence.append(token, model_);

  const auto now = Clock::now();
  if (++generated == 1) {
    telemetry_.time_to_first_token.observe(seconds(now - request.arrived));
    span.event("first_token");
    ++totals_.first_tokens;
  } else {
    telemetry_.inter_token_latency.observe(seconds(now - last_token));
  }
  last_token = now;
  telemetry_.generation_tokens.add();
  ++totals_.generation_tokens;
  if (token == kEndOfText) {
    finished = Finish::stop;
  } else if (generated == request.max_tokens) {
    finished = Finish::length;
  }
}

void Engine::finish(Running& running, Finish reason) {
  const insight::SpanScope current(running.span);
  running.span.attribute("generated_tokens", static_cast<int64_t>(running.generated));
  running.span.attribute("finished_reason", name_of(reason));
  if (reason == Finish::abort) running.span.fail();
  finish(running.request, running.sequence.text().substr(running.request.prompt.size()), reason);
}

void Engine::finish(const Request& request, std::string_view answer, Finish reason) {
  telemetry_.e2e_latency.observe(seconds(Clock::now() - request.arrived));
  telemetry_.finished[static_cast<size_t>(reason)].add();
  ++totals_.finished[static_cast<size_t>(reason)];
  if (request.answer) request.answer(answer);
}

void Engine::report() const {
  std::fprintf(stderr, "engine: %zu running, %zu waiting, %lu tokens generated\n", running_count(),
               queue_.size(), totals_.generation_tokens);
}

void Engine::show() {
  telemetry_.running.set(static_cast<double>(running_count()));
  telemetry_.waiting.set(static_cast<double>(queue_.size()));
  telemetry_.cache_usage.set(cache_.usage());
}

}  // namespace engine
