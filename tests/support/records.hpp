// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/model/batch.hpp"

namespace insight::test {

/// A publisher with series, and the batches of its envelopes.
class Source {
 public:
  explicit Source(Resource resource = {}, unsigned char id = 1,
                  std::shared_ptr<SeriesIds> ids = std::make_shared<SeriesIds>()) {
    IncarnationId incarnation;
    incarnation.bytes.fill(id);
    incarnation_ = std::make_shared<Incarnation>(incarnation, 1, std::move(resource),
                                                 10'000'000'000, std::move(ids));
  }

  const Series& series(Family family, const std::vector<std::string_view>& labels = {}) {
    return incarnation_->add_series(std::make_shared<const Family>(std::move(family)), labels);
  }

  /// The next envelope; the records are the caller's to fill in.
  std::shared_ptr<Batch> batch(Signal signal, size_t records) {
    auto result = std::make_shared<Batch>();
    result->signal = signal;
    result->segments.push_back(
        {.incarnation = incarnation_, .seq = ++seq_, .sent_ns = 1, .end = records});
    if (signal == Signal::metrics) result->points.resize(records);
    if (signal == Signal::spans) result->spans.resize(records);
    return result;
  }

  uint64_t seq() const noexcept { return seq_; }

  Incarnation& incarnation() noexcept { return *incarnation_; }

 private:
  std::shared_ptr<Incarnation> incarnation_;
  uint64_t seq_ = 0;
};

}  // namespace insight::test
