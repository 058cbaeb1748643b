// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "bus/aggregate/aggregate.hpp"
#include "bus/model/batch.hpp"
#include "bus/model/incarnation.hpp"

namespace insight::test {

using Labels = std::vector<std::pair<std::string, std::string>>;

inline IncarnationId incarnation_id(uint64_t number) {
  IncarnationId id;
  for (size_t i = 0; i < 8; ++i) id.bytes[i] = static_cast<unsigned char>(number >> (8 * i));
  id.bytes[15] = 1;
  return id;
}

/// What a collector would have made of one incarnation's envelopes.
struct TestPublisher {
  TestPublisher(uint64_t number, const std::shared_ptr<SeriesIds>& ids, Resource resource = {},
                uint64_t every_ns = 10 * kSecond)
      : incarnation(std::make_shared<Incarnation>(incarnation_id(number), 1, std::move(resource),
                                                  every_ns, ids)) {}

  /// The Series for a declaration and labels; the same one when asked again.
  const Series& series(Family family, const Labels& labels) {
    std::vector<std::string_view> values;
    std::string key = family.name + '\1' + std::string(to_string(family.kind)) + '\1' + family.help;
    for (double bound : family.bounds) key.append(1, '\1').append(std::to_string(bound));
    for (const auto& [name, value] : labels) {
      family.label_keys.push_back(name);
      values.push_back(value);
      key.append(1, '\1').append(name).append(1, '\1').append(value);
    }
    const auto [at, is_new] = known.try_emplace(key, nullptr);
    if (is_new) {
      at->second =
          &incarnation->add_series(std::make_shared<const Family>(std::move(family)), values);
    }
    return *at->second;
  }

  std::shared_ptr<Incarnation> incarnation;
  std::map<std::string, const Series*> known;
};

/// Builds one batch, each point an envelope of its own.
class BatchBuilder {
 public:
  BatchBuilder& add(TestPublisher& publisher, Family family, const Labels& labels, double value) {
    Point point;
    point.series = &publisher.series(std::move(family), labels);
    point.value = value;
    return add(publisher, point);
  }

  BatchBuilder& counter(TestPublisher& publisher, std::string name, const Labels& labels,
                        double value) {
    return add(publisher, Family{.name = std::move(name), .kind = Kind::counter}, labels, value);
  }

  BatchBuilder& gauge(TestPublisher& publisher, std::string name, const Labels& labels,
                      double value, GaugeMode mode = GaugeMode::last) {
    return add(publisher, Family{.name = std::move(name), .kind = Kind::gauge, .merge = mode},
               labels, value);
  }

  BatchBuilder& histogram(TestPublisher& publisher, std::string name, std::vector<double> bounds,
                          const std::vector<uint64_t>& buckets, double sum,
                          const Labels& labels = {}, bool delta = false) {
    Point point;
    point.series = &publisher.series(Family{.name = std::move(name),
                                            .kind = Kind::histogram,
                                            .delta = delta,
                                            .bounds = std::move(bounds)},
                                     labels);
    HistogramValue& value = batch.arena.take<HistogramValue>(1)[0];
    value = HistogramValue{};
    value.buckets = batch.arena.copy(std::span<const uint64_t>(buckets));
    for (uint64_t n : buckets) value.count += n;
    value.sum = sum;
    point.histogram = &value;
    return add(publisher, point);
  }

  BatchBuilder& add(TestPublisher& publisher, const Point& point) {
    Segment segment;
    segment.incarnation = publisher.incarnation;
    segment.begin = batch.points.size();
    segment.end = segment.begin + 1;
    batch.segments.push_back(segment);
    batch.points.push_back(point);
    return *this;
  }

  Batch batch;
};

/// The samples of an exposition: name with labels -> value as text.  A sample that stands twice
/// gets the value "twice".
inline std::map<std::string, std::string> samples(const std::string& text) {
  std::map<std::string, std::string> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) continue;
    const size_t space = line.rfind(' ');
    const auto [at, is_new] = out.try_emplace(line.substr(0, space), line.substr(space + 1));
    if (!is_new) at->second = "twice";
  }
  return out;
}

/// An Aggregate with a clock that is moved by hand.
struct World {
  explicit World(AggregateOptions with = {}) : options(std::move(with)) {
    aggregate = std::make_unique<Aggregate>(options);
  }

  TestPublisher publisher(uint64_t number, Resource resource = {}) {
    return TestPublisher(number, ids, std::move(resource));
  }

  ReasonArray apply(const BatchBuilder& builder) { return aggregate->apply(builder.batch, now); }

  void pass(uint64_t ns) {
    now.mono_ns += ns;
    now.wall_ns += ns;
    aggregate->step(now);
  }

  void set_life(TestPublisher& publisher, Life life) {
    publisher.incarnation->set_life(life, now.mono_ns);
  }

  std::map<std::string, std::string> scrape() { return samples(aggregate->render(now)); }

  /// The value of one sample, "none" when it is not shown.
  std::string value(const std::string& sample) {
    const auto all = scrape();
    const auto at = all.find(sample);
    return at == all.end() ? "none" : at->second;
  }

  /// Another process takes over from a snapshot; numbers of series begin anew.
  void restart() {
    const std::string bytes = aggregate->save(now);
    ids = std::make_shared<SeriesIds>();
    aggregate = std::make_unique<Aggregate>(options);
    REQUIRE(aggregate->load(bytes, now));
  }

  AggregateOptions options;
  Now now{.wall_ns = 1'700'000'000 * kSecond, .mono_ns = 5'000 * kSecond};
  std::shared_ptr<SeriesIds> ids = std::make_shared<SeriesIds>();
  std::unique_ptr<Aggregate> aggregate;
};

inline uint64_t dropped(const ReasonArray& reasons, Reason reason) {
  return reasons[static_cast<size_t>(reason)];
}

}  // namespace insight::test
