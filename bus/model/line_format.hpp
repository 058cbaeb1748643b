// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "bus/model/batch.hpp"

namespace insight {

/// Writes records as JSON lines: one object and '\n' for each, always valid JSON.  The one place
/// that knows this schema. It lives in the model because both a sink and the broker's own answers
/// write it.  Value; one for each thread.
///
/// A point: type "point", ts_ns, name, kind, labels, value, unit, resource, inc, seq; `delta` when
/// it is an increment, `exemplar` when there is one.  The value of a histogram is an object. A
/// span: type "span", "begin", "open" or "end", ts_ns, name, lane, trace_id, span_id, parent_id or
/// null, start_ns, end_ns or null, status, attributes, resource, inc, seq; `events` and `links`
/// when there are some. NaN and the infinities are the strings "NaN", "+Inf", "-Inf".
class LineFormat {
 public:
  /// Sets what all records of one envelope have in common.
  void begin(const Segment& segment);

  /// Appends the line of a record of that segment.
  void append(const Point& point, std::string& out) const;
  void append(const Span& span, std::string& out) const;

 private:
  std::string tail_;
};

}  // namespace insight
