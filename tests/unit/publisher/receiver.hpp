// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <stdlib.h>
#include <unistd.h>

#include "bus/base/clock.hpp"
#include "bus/base/text.hpp"
#include "bus/transport/pull_socket.hpp"
#include "bus/wire/decoder.hpp"

namespace insight {

/// Stands for the broker in tests of the publisher: decodes what comes and keeps the newest values.
class Receiver {
 public:
  using Attributes = std::map<std::string, std::string>;  ///< values as text

  struct SpanSeen {
    SpanWhat what = SpanWhat::span;
    SpanStatus status = SpanStatus::unset;
    std::string name, lane, trace_id, span_id, parent_id;  ///< ids in hex
    uint64_t start_ns = 0;
    uint64_t end_ns = 0;
    Attributes attributes;
    std::vector<std::pair<std::string, Attributes>> events;  ///< by name
    std::vector<std::pair<std::string, Attributes>> links;   ///< by span id
  };

  struct Publisher {
    uint64_t highest_seq = 0;
    uint64_t envelopes = 0;
    bool is_in_order = true;
    std::vector<wire::LifeEvent> life;
    std::map<std::string, double> values;  ///< "name{values}"; histograms: their count
    std::map<std::string, HistogramValue> histograms;
    std::map<std::string, std::vector<uint64_t>> buckets;
    std::vector<std::string> span_ids;
    std::vector<std::string> spans;  ///< "name lane attributes"
    std::vector<SpanSeen> records;   ///< the same in full
    std::map<std::string, std::vector<Exemplar>> exemplars;
    std::map<std::string, uint64_t> accounts;
    Resource resource;

    bool has_ended() const { return !life.empty() && life.back() == wire::LifeEvent::bye; }
  };

  enum class Start : uint8_t { open, closed };

  explicit Receiver(Start start = Start::open) {
    char path[] = "/tmp/insight-publisher-XXXXXX";
    directory_ = mkdtemp(path);
    if (start == Start::open) open();
  }

  ~Receiver() {
    close();
    unlink((directory_ + "/bus.ipc").c_str());
    rmdir(directory_.c_str());
  }

  std::string endpoint() const { return "ipc://" + directory_ + "/bus.ipc"; }

  void open() {
    pull_.emplace(context_);
    Endpoint endpoint;
    endpoint.kind = Endpoint::Kind::ipc;
    endpoint.path = directory_ + "/bus.ipc";
    if (!pull_->bind(endpoint)) abort();
  }

  void close() { pull_.reset(); }

  /// Receives until `done` holds; false after `seconds`.
  template <typename Done>
  bool until(Done done, int seconds = 20) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (!done()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      pull_->wait(std::chrono::milliseconds(20));
      while (const auto frame = pull_->receive()) take(frame->bytes);
    }
    return true;
  }

  /// Closes a publisher and receives meanwhile: whoever ends waits until he was heard.
  template <typename Closing>
  bool close_and_hear(Closing& publisher, size_t ended = 1) {
    std::thread closer([&] { publisher.close(std::chrono::seconds(20)); });
    const bool is_heard = until([&] { return this->ended() == ended; });
    closer.join();
    return is_heard;
  }

  /// Takes what waits now.
  void drain() {
    while (pull_->wait(std::chrono::milliseconds(100))) {
      while (const auto frame = pull_->receive()) take(frame->bytes);
    }
  }

  template <size_t N>
  static std::string hex(const std::array<unsigned char, N>& id) {
    return to_hex({reinterpret_cast<const char*>(id.data()), N});
  }

  /// The only publisher so far.
  Publisher& one() { return publishers.begin()->second; }

  /// Sum over all publishers.
  double total(const std::string& series) const {
    double sum = 0;
    for (const auto& [inc, publisher] : publishers) {
      if (auto it = publisher.values.find(series); it != publisher.values.end()) sum += it->second;
    }
    return sum;
  }

  size_t ended() const {
    size_t n = 0;
    for (const auto& [inc, publisher] : publishers) n += publisher.has_ended() ? 1 : 0;
    return n;
  }

  std::map<std::string, Publisher> publishers;  ///< by incarnation, hex
  size_t refused = 0;

 private:
  void take(std::string_view message) {
    auto decoded = decoder_.decode(message, wall_now_ns());
    if (!decoded) {
      ++refused;
      return;
    }
    const wire::EnvelopeView& envelope = **decoded;
    Publisher& publisher = publishers[to_hex(envelope.inc.view())];
    if (envelope.seq != publisher.highest_seq + 1) publisher.is_in_order = false;
    publisher.highest_seq = envelope.seq;
    ++publisher.envelopes;
    if (envelope.life != wire::LifeEvent::none) publisher.life.push_back(envelope.life);
    for (const auto& [name, count] : envelope.accounts)
      publisher.accounts[std::string(name)] = count;
    if (auto resource = wire::decode_resource(envelope.resource)) publisher.resource = *resource;
    for (const wire::FamilyView& view : envelope.families) {
      auto family = wire::decode_family(view.family);
      if (!family) {
        ++refused;
        continue;
      }
      for (size_t i = view.begin; i < view.end; ++i)
        take_point(publisher, *family, envelope.points[i]);
    }
    for (const wire::SpanView& view : envelope.spans) take_span(publisher, view);
  }

  void take_point(Publisher& publisher, const Family& family, const wire::PointView& point) {
    std::vector<std::string_view> values;
    if (point.refused || !wire::decode_labels(point.labels, family.label_keys.size(), values)) {
      ++refused;
      return;
    }
    std::string series = family.name + "{";
    for (std::string_view value : values) series += std::string(value) + ",";
    if (series.back() == ',') series.pop_back();
    series += "}";
    if (point.is_scalar) {
      publisher.values[series] = point.value;
    } else {
      publisher.values[series] = static_cast<double>(point.histogram->count);
      publisher.histograms[series] = *point.histogram;
      publisher.buckets[series] = {point.histogram->buckets.begin(),
                                   point.histogram->buckets.end()};
    }
    if (point.exemplar) publisher.exemplars[series].push_back(*point.exemplar);
  }

  void take_span(Publisher& publisher, const wire::SpanView& view) {
    if (view.refused) {
      ++refused;
      return;
    }
    publisher.span_ids.push_back(hex(view.span.span_id));
    std::string text = std::string(view.span.name) + " " + std::string(view.span.lane);
    for (const Attribute& attribute : view.span.attributes)
      text += " " + std::string(attribute.key);
    publisher.spans.push_back(text);
    publisher.records.push_back(in_full(view.span));
  }

  static Attributes texts(std::span<const Attribute> attributes) {
    Attributes result;
    for (const auto& [key, value] : attributes) {
      std::ostringstream text;
      std::visit([&](const auto& v) { text << v; }, value);
      result[std::string(key)] = text.str();
    }
    return result;
  }

  static SpanSeen in_full(const Span& span) {
    SpanSeen seen{.what = span.what,
                  .status = span.status,
                  .name = std::string(span.name),
                  .lane = std::string(span.lane),
                  .trace_id = hex(span.trace_id),
                  .span_id = hex(span.span_id),
                  .parent_id = span.has_parent ? hex(span.parent_id) : "",
                  .start_ns = span.start_ns,
                  .end_ns = span.end_ns,
                  .attributes = texts(span.attributes),
                  .events = {},
                  .links = {}};
    for (const SpanEvent& event : span.events) {
      seen.events.emplace_back(event.name, texts(event.attributes));
    }
    for (const SpanLink& link : span.links) {
      seen.links.emplace_back(hex(link.span_id), texts(link.attributes));
    }
    return seen;
  }

  std::string directory_;
  transport::Context context_;
  std::optional<transport::PullSocket> pull_;
  wire::Decoder decoder_;
};

}  // namespace insight
