// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "bus/base/result.hpp"

namespace insight {

/// How /metrics is written: Prometheus' text format 0.0.4, or OpenMetrics 1.0.
enum class Exposition : uint8_t { text, open_metrics };

/// What a sink that holds metrics shows of them over HTTP.  Thread-safe: called from the http
/// thread, also after the sink was closed, never after it was destroyed.
class MetricsView {
 public:
  virtual ~MetricsView() = default;

  /// Its part of GET /metrics, without the `# EOF` of OpenMetrics; an error when it has none now.
  virtual Result<std::string> page(Exposition exposition) = 0;
};

}  // namespace insight
