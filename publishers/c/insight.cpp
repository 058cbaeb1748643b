// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <utility>
#include <vector>

#include <insight/insight.h>
#include <insight/insight.hpp>

// The handles of C own one handle of C++ each.
struct insight_publisher {
  insight::Publisher publisher;
};

struct insight_counter {
  insight::Counter counter;
};

struct insight_gauge {
  insight::Gauge gauge;
};

struct insight_histogram {
  insight::Histogram histogram;
};

struct insight_span {
  insight::ActiveSpan span;
};

struct insight_scope {
  insight::SpanScope scope;
};

namespace {

const char* text(const char* string) { return string == nullptr ? "" : string; }

insight::Labels to_labels(const insight_label* labels, size_t count) {
  insight::Labels result;
  if (labels == nullptr) return result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i)
    result.emplace_back(text(labels[i].name), text(labels[i].value));
  return result;
}

insight::SpanContext to_context(const insight_span_context* given) {
  insight::SpanContext context;
  if (given == nullptr) return context;
  std::memcpy(context.trace_id.data(), given->trace_id, sizeof given->trace_id);
  std::memcpy(context.span_id.data(), given->span_id, sizeof given->span_id);
  return context;
}

insight_span_context from_context(const insight::SpanContext& context) {
  insight_span_context result{};
  std::memcpy(result.trace_id, context.trace_id.data(), sizeof result.trace_id);
  std::memcpy(result.span_id, context.span_id.data(), sizeof result.span_id);
  return result;
}

insight::SpanValue to_value(const insight_attribute& attribute) {
  switch (attribute.type) {
    case INSIGHT_TYPE_INT:
      return attribute.int_value;
    case INSIGHT_TYPE_DOUBLE:
      return attribute.double_value;
    case INSIGHT_TYPE_BOOL:
      return attribute.int_value != 0;
    case INSIGHT_TYPE_STRING:
      break;
  }
  return attribute.string_value;  // a number that is no type is read as this one
}

std::vector<insight::SpanAttribute> to_attributes(const insight_attribute* attributes,
                                                  size_t count) {
  std::vector<insight::SpanAttribute> result;
  if (attributes == nullptr) return result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    result.push_back({text(attributes[i].key), to_value(attributes[i])});
  }
  return result;
}

// Exceptions stop here: what fails gives null, or does nothing.
template <typename Work>
auto guarded(Work work) noexcept -> decltype(work()) {
  try {
    return work();
  } catch (const std::exception&) {
    return decltype(work())();
  }
}

// Only as much as the caller's struct has; the rest keeps its default.
template <typename Struct>
Struct read_sized(const Struct* given) {
  Struct known{};
  if (given != nullptr) std::memcpy(&known, given, std::min(given->size, sizeof known));
  return known;
}

std::chrono::milliseconds milliseconds(uint64_t count) {
  return std::chrono::milliseconds(std::min<uint64_t>(count, 86'400'000));
}

insight::PublisherOptions to_options(const insight_options* given) {
  const insight_options known = read_sized(given);
  insight::PublisherOptions options;
  options.service = text(known.service);
  options.endpoint = text(known.endpoint);
  options.resource = to_labels(known.resource, known.resource_count);
  options.flush_interval = milliseconds(known.flush_interval_ms);
  if (known.beat_interval_ms != 0) options.beat_interval = milliseconds(known.beat_interval_ms);
  if (known.exit_deadline_ms != 0) options.exit_deadline = milliseconds(known.exit_deadline_ms);
  return options;
}

}  // namespace

extern "C" {

insight_publisher* insight_open(const insight_options* options) {
  return guarded([&] { return new insight_publisher{insight::Publisher(to_options(options))}; });
}

void insight_close(insight_publisher* publisher, uint64_t deadline_ms) {
  if (publisher != nullptr) publisher->publisher.close(milliseconds(deadline_ms));
}

void insight_free(insight_publisher* publisher) { delete publisher; }

insight_counter* insight_counter_get(insight_publisher* publisher, const char* name,
                                     const char* help, const insight_label* labels,
                                     size_t label_count) {
  if (publisher == nullptr) return nullptr;
  return guarded([&] {
    return new insight_counter{
        publisher->publisher.counter(text(name), text(help), to_labels(labels, label_count))};
  });
}

void insight_counter_add(const insight_counter* counter, double n) {
  if (counter != nullptr) counter->counter.add(n);
}

insight_counter* insight_counter_with(const insight_counter* counter, const insight_label* labels,
                                      size_t label_count) {
  if (counter == nullptr) return nullptr;
  return guarded(
      [&] { return new insight_counter{counter->counter.with(to_labels(labels, label_count))}; });
}

void insight_counter_free(insight_counter* counter) { delete counter; }

insight_gauge* insight_gauge_get(insight_publisher* publisher, const char* name, const char* help,
                                 insight_merge merge, const insight_label* labels,
                                 size_t label_count) {
  if (publisher == nullptr) return nullptr;
  // A number that is no mode is the default one.
  const auto mode = merge >= INSIGHT_MERGE_LAST && merge <= INSIGHT_MERGE_EACH
                        ? static_cast<insight::Merge>(merge)
                        : insight::Merge::last;
  return guarded([&] {
    return new insight_gauge{
        publisher->publisher.gauge(text(name), text(help), to_labels(labels, label_count), mode)};
  });
}

void insight_gauge_set(const insight_gauge* gauge, double value) {
  if (gauge != nullptr) gauge->gauge.set(value);
}

void insight_gauge_add(const insight_gauge* gauge, double difference) {
  if (gauge != nullptr) gauge->gauge.add(difference);
}

insight_gauge* insight_gauge_with(const insight_gauge* gauge, const insight_label* labels,
                                  size_t label_count) {
  if (gauge == nullptr) return nullptr;
  return guarded(
      [&] { return new insight_gauge{gauge->gauge.with(to_labels(labels, label_count))}; });
}

void insight_gauge_free(insight_gauge* gauge) { delete gauge; }

insight_histogram* insight_histogram_get(insight_publisher* publisher, const char* name,
                                         const char* help, const double* bounds, size_t bound_count,
                                         const insight_label* labels, size_t label_count) {
  if (publisher == nullptr) return nullptr;
  return guarded([&] {
    return new insight_histogram{publisher->publisher.histogram(
        text(name), std::span<const double>(bounds, bounds == nullptr ? 0 : bound_count),
        text(help), to_labels(labels, label_count))};
  });
}

void insight_histogram_observe(const insight_histogram* histogram, double value) {
  if (histogram != nullptr) histogram->histogram.observe(value);
}

insight_histogram* insight_histogram_with(const insight_histogram* histogram,
                                          const insight_label* labels, size_t label_count) {
  if (histogram == nullptr) return nullptr;
  return guarded([&] {
    return new insight_histogram{histogram->histogram.with(to_labels(labels, label_count))};
  });
}

void insight_histogram_free(insight_histogram* histogram) { delete histogram; }

void insight_progress(insight_publisher* publisher, const char* name, double period_seconds) {
  if (publisher == nullptr || !std::isfinite(period_seconds)) return;
  const double bounded = std::clamp(period_seconds, 0.0, 1e9);
  publisher->publisher.progress(text(name),
                                std::chrono::nanoseconds(static_cast<int64_t>(bounded * 1e9)));
}

insight_span* insight_span_begin(insight_publisher* publisher, const char* name, const char* lane,
                                 const insight_span_context* parent) {
  if (publisher == nullptr) return nullptr;
  return guarded([&] {
    return new insight_span{
        publisher->publisher.span(text(name), {.lane = text(lane), .parent = to_context(parent)})};
  });
}

insight_span* insight_state_begin(insight_publisher* publisher, const char* name, const char* lane,
                                  const insight_span_context* parent,
                                  const insight_attribute* attributes, size_t attribute_count) {
  if (publisher == nullptr) return nullptr;
  return guarded([&] {
    return new insight_span{publisher->publisher.state(
        text(name), {.lane = text(lane),
                     .parent = to_context(parent),
                     .attributes = to_attributes(attributes, attribute_count)})};
  });
}

void insight_span_attribute_string(insight_span* span, const char* key, const char* value) {
  if (span != nullptr) span->span.attribute(text(key), text(value));
}

void insight_span_attribute_int(insight_span* span, const char* key, int64_t value) {
  if (span != nullptr) span->span.attribute(text(key), value);
}

void insight_span_attribute_double(insight_span* span, const char* key, double value) {
  if (span != nullptr) span->span.attribute(text(key), value);
}

void insight_span_attribute_bool(insight_span* span, const char* key, int value) {
  if (span != nullptr) span->span.attribute(text(key), value != 0);
}

void insight_span_status(insight_span* span, int is_ok) {
  if (span == nullptr) return;
  is_ok != 0 ? span->span.succeed() : span->span.fail();
}

void insight_span_event(insight_span* span, const char* name, const insight_attribute* attributes,
                        size_t attribute_count) {
  if (span == nullptr) return;
  guarded([&] { span->span.event(text(name), to_attributes(attributes, attribute_count)); });
}

void insight_span_link(insight_span* span, const insight_span_context* to,
                       const insight_attribute* attributes, size_t attribute_count) {
  if (span == nullptr) return;
  guarded([&] { span->span.link(to_context(to), to_attributes(attributes, attribute_count)); });
}

insight_span_context insight_span_get_context(const insight_span* span) {
  return from_context(span == nullptr ? insight::SpanContext{} : span->span.context());
}

void insight_span_detach(insight_span* span) {
  if (span != nullptr) span->span.detach();
}

void insight_span_end(insight_span* span) { delete span; }

insight_scope* insight_scope_enter(const insight_span_context* context) {
  return guarded([&] { return new insight_scope{insight::SpanScope(to_context(context))}; });
}

void insight_scope_leave(insight_scope* scope) { delete scope; }

insight_span_context insight_current_span(void) {
  return from_context(insight::SpanScope::current());
}

void insight_get_status(const insight_publisher* publisher, insight_status* status) {
  if (status == nullptr) return;
  insight_status filled{};
  filled.size = std::min(status->size, sizeof filled);
  if (publisher != nullptr) {
    const insight::PublisherStatus now = publisher->publisher.status();
    filled.is_connected = now.is_connected ? 1 : 0;
    filled.envelopes_sent = now.envelopes_sent;
    filled.bytes_sent = now.bytes_sent;
    filled.series = now.series;
    filled.spans = now.spans;
    filled.spans_sent = now.spans_sent;
  }
  std::memcpy(status, &filled, filled.size);
}

uint64_t insight_dropped(const insight_publisher* publisher, const char* reason) {
  if (publisher == nullptr) return 0;
  uint64_t dropped = 0;
  for (const auto& [name, count] : publisher->publisher.status().drops) {
    if (reason == nullptr || name == reason) dropped += count;
  }
  return dropped;
}

const char* insight_version(void) { return INSIGHT_VERSION; }

}  // extern "C"
