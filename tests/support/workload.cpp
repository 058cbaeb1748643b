// SPDX-License-Identifier: Apache-2.0

// A program that publishes what it is told to, through the public API alone.  One command a line on
// standard input; each is answered by one line, "ok" or "ok <value>", "error <what>" for one that
// it does not know.
//
//   counter NAME V [key=value...]       gauge NAME V [key=value...]       histogram NAME V
//   [key=value...] gauge_add NAME V [key=value...]     span NAME LANE [key=value...]     progress
//   NAME SECONDS state NAME LANE [key=value...] begins a state     end NAME ends it
//   bounds NAME B,B,...                 registers a histogram with these bounds repeat
//   N COMMAND                    the command N times; "{i}" in it is the number of the turn threads
//   N COMMAND                   the command in N threads at once; "{t}" in it is the thread's
//   number rate PER_SECOND SECONDS COMMAND     the command at that rate fork N COMMAND the command
//   in each of N children, which then exit normally at once status                              ok
//   {"connected": .., "envelopes": .., "spans": .., "rss_kib": .., ...} connected SECONDS waits
//   until a broker is there close MILLISECONDS                  exit CODE quit CODE (by _exit,
//   without exit handlers)
//
// At the end of the input it exits normally.  INSIGHT_ENDPOINT and the other variables apply.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <insight/insight.hpp>

namespace {

bool is_child = false;

}  // namespace

// LeakSanitizer asks this before it looks: in a forked child it takes what only the parent's other
// threads refer to for lost.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming)
extern "C" int __lsan_is_turned_off() { return is_child ? 1 : 0; }

namespace {

using Words = std::vector<std::string>;

struct Instruments {
  insight::Publisher publisher;
  std::mutex mutex;
  std::map<std::string, insight::Counter> counters;
  std::map<std::string, insight::Gauge> gauges;
  std::map<std::string, insight::Histogram> histograms;
  std::map<std::string, insight::ActiveSpan> states;
};

Words split(const std::string& line) {
  std::istringstream in(line);
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

double number(const std::string& text) { return std::strtod(text.c_str(), nullptr); }

insight::Labels labels_from(const Words& words, size_t first) {
  insight::Labels labels;
  for (size_t i = first; i < words.size(); ++i) {
    const size_t equals = words[i].find('=');
    if (equals != std::string::npos) {
      labels.emplace_back(words[i].substr(0, equals), words[i].substr(equals + 1));
    }
  }
  return labels;
}

// The handle is kept for small numbers of series, so that a child uses the one that it inherited.
template <typename Handle, typename Make>
Handle handle(std::mutex& mutex, std::map<std::string, Handle>& handles, const Words& words,
              Make make) {
  std::string key = words[1];
  for (size_t i = 3; i < words.size(); ++i) key += ' ' + words[i];
  const std::lock_guard lock(mutex);
  if (auto it = handles.find(key); it != handles.end()) return it->second;
  Handle fresh = make(words[1], labels_from(words, 3));
  if (handles.size() < 1'000) handles.emplace(key, fresh);
  return fresh;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (size_t at; (at = text.find(what)) != std::string::npos;) text.replace(at, what.size(), by);
  return text;
}

Words replaced(const Words& words, size_t first, const std::string& what, uint64_t by) {
  Words result;
  for (size_t i = first; i < words.size(); ++i) {
    result.push_back(replaced(words[i], what, std::to_string(by)));
  }
  return result;
}

long resident_kib() {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("VmRSS:")) return std::strtol(line.c_str() + 6, nullptr, 10);
  }
  return 0;
}

std::string status(const Instruments& all) {
  const insight::PublisherStatus now = all.publisher.status();
  std::ostringstream out;
  out << "{\"connected\": " << (now.is_connected ? "true" : "false") << ", \"endpoint\": \""
      << now.endpoint << "\", \"envelopes\": " << now.envelopes_sent
      << ", \"bytes\": " << now.bytes_sent << ", \"series\": " << now.series
      << ", \"spans\": " << now.spans << ", \"spans_sent\": " << now.spans_sent
      << ", \"rss_kib\": " << resident_kib() << ", \"drops\": {";
  const char* separator = "";
  for (const auto& [reason, count] : now.drops) {
    out << separator << '"' << reason << "\": " << count;
    separator = ", ";
  }
  out << "}}";
  return out.str();
}

std::string run(Instruments& all, const Words& words);

std::string at_rate(Instruments& all, const Words& words) {
  using Clock = std::chrono::steady_clock;
  const double per_second = number(words[1]);
  const auto calls = static_cast<uint64_t>(per_second * number(words[2]));
  const auto start = Clock::now();
  for (uint64_t i = 0; i < calls; ++i) {
    run(all, replaced(words, 3, "{i}", i));
    if (i % 100 != 0) continue;
    std::this_thread::sleep_until(
        start + std::chrono::nanoseconds(static_cast<int64_t>(1e9 * double(i) / per_second)));
  }
  return "ok";
}

std::string in_children(Instruments& all, const Words& words) {
  std::fflush(nullptr);
  const int count = std::atoi(words[1].c_str());
  std::vector<pid_t> children;
  for (int i = 0; i < count; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      is_child = true;
      const std::string answer = run(all, replaced(words, 2, "{c}", static_cast<uint64_t>(i)));
      std::exit(answer.starts_with("ok") ? 0 : 1);
    }
    if (pid < 0) return "error fork";
    children.push_back(pid);
  }
  int failed = 0;
  for (pid_t child : children) {
    int result = 0;
    waitpid(child, &result, 0);
    if (result != 0) ++failed;
  }
  return failed == 0 ? "ok" : "error " + std::to_string(failed) + " children failed";
}

std::string in_threads(Instruments& all, const Words& words) {
  std::vector<std::thread> threads;
  const auto count = static_cast<uint64_t>(number(words[1]));
  for (uint64_t t = 0; t < count; ++t) {
    threads.emplace_back([&all, command = replaced(words, 2, "{t}", t)] { run(all, command); });
  }
  for (std::thread& thread : threads) thread.join();
  return "ok";
}

std::string until_connected(const Instruments& all, double seconds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!all.publisher.status().is_connected) {
    if (std::chrono::steady_clock::now() > deadline) return "error not connected";
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return "ok";
}

bool takes_commands(const std::string& command) {
  return command == "repeat" || command == "threads" || command == "rate" || command == "fork";
}

std::string run(Instruments& all, const Words& words) {
  const std::string command = words.empty() ? "" : words[0];
  if (const auto end = std::ranges::find(words, ";");
      end != words.end() && !takes_commands(command)) {
    const std::string answer = run(all, Words(words.begin(), end));
    return answer.starts_with("ok") ? run(all, Words(end + 1, words.end())) : answer;
  }
  const size_t count = words.size();
  insight::Publisher& publisher = all.publisher;
  if (command == "status") return "ok " + status(all);
  if (command == "connected" && count == 2) return until_connected(all, number(words[1]));
  if (command == "close" && count == 2) {
    publisher.close(std::chrono::milliseconds(std::atoi(words[1].c_str())));
    return "ok";
  }
  if (command == "exit" && count == 2) std::exit(std::atoi(words[1].c_str()));
  if (command == "quit" && count == 2) _exit(std::atoi(words[1].c_str()));
  if (command == "end" && count == 2) {
    const std::lock_guard lock(all.mutex);
    return all.states.erase(words[1]) == 1 ? "ok" : "error no such state";
  }
  if (count < 3) return "error unknown command: " + command;

  if (command == "counter") {
    handle(all.mutex, all.counters, words, [&](const auto& name, const auto& labels) {
      return publisher.counter(name, "", labels);
    }).add(number(words[2]));
  } else if (command == "gauge" || command == "gauge_add") {
    const insight::Gauge gauge = handle(
        all.mutex, all.gauges, words,
        [&](const auto& name, const auto& labels) { return publisher.gauge(name, "", labels); });
    command == "gauge" ? gauge.set(number(words[2])) : gauge.add(number(words[2]));
  } else if (command == "histogram") {
    handle(all.mutex, all.histograms, words, [&](const auto& name, const auto& labels) {
      return publisher.histogram(name, {}, "", labels);
    }).observe(number(words[2]));
  } else if (command == "bounds") {
    std::vector<double> bounds;
    std::istringstream in(words[2]);
    for (std::string bound; std::getline(in, bound, ',');) bounds.push_back(number(bound));
    if (!publisher.histogram(words[1], bounds)) return "error refused";
  } else if (command == "span") {
    insight::ActiveSpan span = publisher.span(words[1], {.lane = words[2]});
    for (const auto& [key, value] : labels_from(words, 3))
      span.attribute(key, std::string_view(value));
  } else if (command == "state") {
    const insight::Labels attributes = labels_from(words, 3);
    insight::SpanOptions options{.lane = words[2]};
    for (const auto& [key, value] : attributes) options.attributes.push_back({key, value});
    const std::lock_guard lock(all.mutex);
    all.states[words[1]] = publisher.state(words[1], options);
  } else if (command == "progress") {
    publisher.progress(words[1],
                       std::chrono::nanoseconds(static_cast<int64_t>(number(words[2]) * 1e9)));
  } else if (command == "repeat") {
    const auto turns = static_cast<uint64_t>(number(words[1]));
    for (uint64_t i = 0; i < turns; ++i) run(all, replaced(words, 2, "{i}", i));
  } else if (command == "threads") {
    return in_threads(all, words);
  } else if (command == "fork") {
    return in_children(all, words);
  } else if (command == "rate" && count > 3) {
    return at_rate(all, words);
  } else {
    return "error unknown command: " + command;
  }
  return "ok";
}

}  // namespace

int main() {
  Instruments all;
  for (std::string line; std::getline(std::cin, line);) {
    const std::string answer = run(all, split(line));
    std::cout << answer << std::endl;
  }
  return 0;
}
