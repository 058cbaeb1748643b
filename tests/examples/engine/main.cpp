// SPDX-License-Identifier: Apache-2.0

// A small inference engine that publishes what engines publish: see telemetry.hpp for what,
// engine.cpp for where.  It learns a language model from the texts that it is given (a tenth of a
// second for 50 KB), then answers prompts.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <thread>

#include <poll.h>
#include <unistd.h>

#include "tests/examples/engine/engine.hpp"

namespace engine {

namespace {

using namespace std::chrono_literals;

constexpr const char* kUsage =
    "engine [OPTION VALUE]... TEXT...    learns from the texts, then answers one prompt a line "
    "from standard input\n"
    "\n"
    "--rate R         instead makes R requests a second, at random times\n"
    "--requests N     so many of them (0: until SIGTERM or Ctrl+C)\n"
    "--max-tokens N   an answer is at most so long (96)\n"
    "--batch N        requests that run at the same time (8)\n"
    "--cache-blocks N of 16 tokens each (256)\n"
    "--step-ms T      a step takes at least so long, as that of a large model does (0)\n"
    "--seed N         of all that is random (1)\n"
    "\n"
    "The last line of standard error is what it counted, as JSON.\n";

struct Options {
  EngineOptions engine;
  double rate = 0;
  size_t requests = 0;
  size_t max_tokens = 96;
  std::vector<std::string> texts;
};

/// Throws std::runtime_error for what is no number of at least 0.
double number(const std::string& option, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value >= 0 && value <= 1e9)) {
    throw std::runtime_error(option + ": \"" + text + "\" is not a number from 0 to 1e9");
  }
  return value;
}

Options parse(std::span<char*> arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string option = arguments[i];
    if (!option.starts_with("--")) {
      options.texts.push_back(option);
      continue;
    }
    if (i + 1 == arguments.size()) throw std::runtime_error(option + ": a value is missing");
    const double value = number(option, arguments[++i]);
    if (option == "--rate")
      options.rate = value;
    else if (option == "--requests")
      options.requests = static_cast<size_t>(value);
    else if (option == "--max-tokens")
      options.max_tokens = static_cast<size_t>(value);
    else if (option == "--batch")
      options.engine.batch = static_cast<size_t>(value);
    else if (option == "--cache-blocks")
      options.engine.cache_blocks = static_cast<size_t>(value);
    else if (option == "--step-ms")
      options.engine.step = std::chrono::duration_cast<Clock::duration>(value * 1ms);
    else if (option == "--seed")
      options.engine.seed = static_cast<uint64_t>(value);
    else
      throw std::runtime_error("there is no option " + option);
  }
  if (options.texts.empty()) throw std::runtime_error("no text to learn from");
  return options;
}

/// Requests at the times of a Poisson process.  All begin alike, as behind a system prompt, and go
/// on with the beginning of a paragraph that the model has not seen.
void make_requests(const std::stop_token& stop, RequestQueue& queue, const Options& options,
                   const Corpus& corpus) {
  std::mt19937_64 random(options.engine.seed);
  std::exponential_distribution<double> pause(options.rate);
  std::uniform_int_distribution<size_t> pick(0, corpus.held_out.size() - 1);
  const std::string system = corpus.training.substr(0, 64);
  auto at = Clock::now();
  for (size_t i = 0; !stop.stop_requested() && (options.requests == 0 || i < options.requests);
       ++i) {
    at += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(pause(random)));
    while (!stop.stop_requested() && Clock::now() < at)
      std::this_thread::sleep_until(std::min(at, Clock::now() + 50ms));
    queue.push({.prompt = system + corpus.held_out[pick(random)].substr(0, 48),
                .max_tokens = options.max_tokens});
  }
  queue.close();
}

/// One prompt a line, until the end of the input.
void read_prompts(const std::stop_token& stop, RequestQueue& queue, size_t max_tokens) {
  std::string input;
  const auto push = [&](std::string prompt) {
    queue.push(
        {.prompt = prompt, .max_tokens = max_tokens, .answer = [prompt](std::string_view answer) {
           std::cout << prompt << answer.substr(0, answer.find(kEndOfText)) << '\n' << std::flush;
         }});
  };
  // poll() and not a read that nothing but input would end.
  for (pollfd in{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0}; !stop.stop_requested();) {
    if (poll(&in, 1, 100) <= 0) continue;
    std::array<char, 4096> piece{};
    const ssize_t n = read(STDIN_FILENO, piece.data(), piece.size());
    if (n <= 0) break;
    input.append(piece.data(), static_cast<size_t>(n));
    for (size_t end; (end = input.find('\n')) != std::string::npos; input.erase(0, end + 1)) {
      push(input.substr(0, end));
    }
  }
  if (!input.empty()) push(input);
  queue.close();
}

/// Waits for SIGTERM or SIGINT, which all threads block, and then requests a stop.
void watch_signals(const std::stop_token& is_over, const sigset_t& signals, std::stop_source stop) {
  const timespec pause{.tv_sec = 0, .tv_nsec = 50'000'000};
  while (!is_over.stop_requested()) {
    if (sigtimedwait(&signals, nullptr, &pause) > 0) stop.request_stop();
  }
}

double perplexity(const Model& model, const Corpus& corpus) {
  double bits = 0;
  double tokens = 0;
  for (const std::string& paragraph : corpus.held_out) {
    bits += std::log2(model.perplexity(paragraph)) * static_cast<double>(paragraph.size());
    tokens += static_cast<double>(paragraph.size());
  }
  return std::exp2(bits / tokens);
}

void run(const Options& options) {
  const Corpus corpus = read_corpus(options.texts);
  const Model model(corpus.training);
  std::fprintf(stderr,
               "engine: learned from %zu tokens; perplexity on text that it has not seen %.2f, of "
               "a unigram model %.2f\n",
               corpus.training.size(), perplexity(model, corpus),
               perplexity(Model(corpus.training, 1), corpus));

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before the first thread, which inherits it

  Telemetry telemetry("ngram");
  RequestQueue queue;
  Engine engine(model, queue, telemetry, options.engine);
  std::stop_source stop;
  const std::jthread watch(
      [&](const std::stop_token& is_over) { watch_signals(is_over, signals, stop); });
  const std::jthread arrivals([&] {
    if (options.rate > 0)
      make_requests(stop.get_token(), queue, options, corpus);
    else
      read_prompts(stop.get_token(), queue, options.max_tokens);
  });
  const auto began = Clock::now();
  engine.run(stop.get_token());
  const std::chrono::duration<double> took = Clock::now() - began;

  telemetry.publisher.close(2s);
  const Totals& totals = engine.totals();
  std::fprintf(
      stderr,
      R"({"seconds": %.3f, "started": %lu, "first_tokens": %lu, "prompt_tokens": %lu, "cache_hits": %lu, )"
      R"("generation_tokens": %lu, "tokens_per_second": %.0f, "finished": {)",
      took.count(), totals.started, totals.first_tokens, totals.prompt_tokens, totals.cache_hits,
      totals.generation_tokens, static_cast<double>(totals.generation_tokens) / took.count());
  for (size_t i = 0; i < kFinishes; ++i) {
    std::fprintf(stderr, R"(%s"%s": %lu)", i == 0 ? "" : ", ", name_of(static_cast<Finish>(i)),
                 totals.finished[i]);
  }
  std::fprintf(stderr, "}}\n");
}

}  // namespace

}  // namespace engine

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv + 1, argc > 0 ? static_cast<size_t>(argc) - 1 : 0);
  if (arguments.empty() || std::string_view(arguments[0]) == "--help") {
    std::fputs(engine::kUsage, arguments.empty() ? stderr : stdout);
    return arguments.empty() ? 2 : 0;
  }
  try {
    engine::run(engine::parse(arguments));
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "engine: %s\n", e.what());
    return 2;
  }
}
