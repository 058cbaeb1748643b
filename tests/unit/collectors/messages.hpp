// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/base/clock.hpp"
#include "bus/base/mutex.hpp"
#include "bus/pipeline/collector.hpp"
#include "bus/wire/encoder.hpp"

namespace insight {

inline IncarnationId test_id(uint64_t n) {
  IncarnationId id;
  id.bytes[15] = 1;
  std::memcpy(id.bytes.data(), &n, sizeof n);
  return id;
}

inline std::string labels_of(std::initializer_list<std::string_view> values) {
  return wire::encode_labels(std::span(values.begin(), values.size()));
}

inline std::string family_of(std::string name, Kind kind, std::vector<std::string> keys = {},
                             std::vector<double> bounds = {}) {
  Family family;
  family.name = std::move(name);
  family.kind = kind;
  family.label_keys = std::move(keys);
  family.bounds = std::move(bounds);
  return wire::encode_family(family);
}

/// What a publisher sends.
class TestPublisher {
 public:
  explicit TestPublisher(uint64_t n) {
    head.inc = test_id(n);
    head.t0_ns = wall_now_ns();
    Resource about;
    about.attributes.emplace_back("service.name", std::string("test"));
    resource_ = wire::encode_resource(about);
    head.resource = resource_;
  }

  TestPublisher(const TestPublisher&) = delete;
  TestPublisher& operator=(const TestPublisher&) = delete;

  /// The next envelope with what `fill` writes into it.
  std::string message(const std::function<void(wire::EnvelopeWriter&)>& fill,
                      const Now& sent = read_clocks()) {
    ++head.seq;
    return message_again(fill, sent);
  }

  /// The same, under the number that `head` has.
  std::string message_again(const std::function<void(wire::EnvelopeWriter&)>& fill,
                            const Now& sent = read_clocks()) {
    writer_.start(head);
    fill(writer_);
    return std::string(writer_.finish(sent));
  }

  /// One point of one family.
  std::string point(std::string_view family, std::string_view labels, double value,
                    const Now& sent = read_clocks()) {
    return message(
        [&](wire::EnvelopeWriter& writer) {
          writer.family(family);
          writer.point(labels, value);
        },
        sent);
  }

  std::string life(wire::LifeEvent event) {
    head.life = event;
    std::string bytes = message([](wire::EnvelopeWriter&) {});
    head.life = wire::LifeEvent::none;
    return bytes;
  }

  wire::EnvelopeHead head;

 private:
  std::string resource_;
  wire::EnvelopeWriter writer_;
};

/// Keeps every batch.  Thread-safe.
class Received final : public BatchReceiver {
 public:
  void receive(std::shared_ptr<const Batch> batch) noexcept override {
    const MutexLock lock(mutex_);
    batches_.push_back(std::move(batch));
  }

  std::vector<std::shared_ptr<const Batch>> take() {
    const MutexLock lock(mutex_);
    return std::exchange(batches_, {});
  }

 private:
  Mutex mutex_;
  std::vector<std::shared_ptr<const Batch>> batches_ INSIGHT_GUARDED_BY(mutex_);
};

}  // namespace insight
