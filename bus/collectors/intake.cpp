// SPDX-License-Identifier: Apache-2.0
#include "bus/collectors/intake.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

namespace insight {

namespace {

constexpr size_t kTopRows = 10;
constexpr size_t kLeastArenaBytes = 4'096;

bool is_boot(const std::array<unsigned char, 16>& theirs, const std::array<std::byte, 16>& ours) {
  return ours != std::array<std::byte, 16>{} &&
         std::memcmp(theirs.data(), ours.data(), ours.size()) == 0;
}

template <typename T>
const T* keep(Arena& arena, const T& value) {
  return new (arena.take<T>(1).data()) T(value);
}

const HistogramValue* keep_histogram(Arena& arena, HistogramValue value) {
  value.buckets = arena.copy(value.buckets);
  return keep(arena, value);
}

const ExpHistogramValue* keep_exponential(Arena& arena, ExpHistogramValue value) {
  value.positive = arena.copy(value.positive);
  value.negative = arena.copy(value.negative);
  return keep(arena, value);
}

std::span<const Attribute> keep_attributes(Arena& arena, std::span<const Attribute> attributes) {
  const std::span<Attribute> kept = arena.take<Attribute>(attributes.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    Attribute copy = attributes[i];
    copy.key = arena.copy(copy.key);
    if (const auto* text = std::get_if<std::string_view>(&copy.value))
      copy.value = arena.copy(*text);
    new (&kept[i]) Attribute(copy);
  }
  return kept;
}

Span keep_span(Arena& arena, Span span) {
  span.name = arena.copy(span.name);
  span.lane = arena.copy(span.lane);
  span.attributes = keep_attributes(arena, span.attributes);
  const std::span<SpanEvent> events = arena.take<SpanEvent>(span.events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    const SpanEvent& event = span.events[i];
    new (&events[i])
        SpanEvent{event.time_ns, arena.copy(event.name), keep_attributes(arena, event.attributes)};
  }
  span.events = events;
  const std::span<SpanLink> links = arena.take<SpanLink>(span.links.size());
  for (size_t i = 0; i < links.size(); ++i) {
    SpanLink link = span.links[i];
    link.attributes = keep_attributes(arena, link.attributes);
    new (&links[i]) SpanLink(link);
  }
  span.links = links;
  return span;
}

/// What tells a refresh from a change.  Of cumulative histograms count and sum are enough.
uint64_t value_bits(const wire::PointView& point) {
  if (point.is_scalar) return std::bit_cast<uint64_t>(point.value);
  const auto of = [](uint64_t count, double sum) {
    return count * 0x9E3779B97F4A7C15 ^ std::bit_cast<uint64_t>(sum);
  };
  if (point.histogram) return of(point.histogram->count, point.histogram->sum);
  return of(point.exponential->count, point.exponential->sum);
}

}  // namespace

Intake::Intake(SeriesLimits limits, LedgerOptions ledger, std::shared_ptr<SeriesIds> ids,
               bool keep_messages)
    : keep_messages_(keep_messages), table_(limits), ledger_(ledger, std::move(ids)) {}

void Intake::take(std::string_view message, const Now& received) {
  const MutexLock lock(mutex_);
  const auto decoded = decoder_.decode(message, received.wall_ns);
  if (!decoded) return count_refused(decoded.error().reason, message.size());
  const wire::EnvelopeView& envelope = *decoded.value();
  const Ledger::Receipt receipt = ledger_.receive(envelope, received);
  if (receipt.verdict == Ledger::Verdict::malformed)
    return count_refused(Reason::malformed, message.size());
  if (receipt.verdict == Ledger::Verdict::duplicate)
    return count_refused(Reason::duplicate, message.size());

  const auto signal = static_cast<size_t>(envelope.spans.empty() ? Signal::metrics : Signal::spans);
  const size_t records = envelope.points.size() + envelope.spans.size();
  ++counts_.envelopes[signal];
  counts_.bytes[signal] += message.size();
  counts_.records[signal] += records;
  observe_latency(envelope, received);
  if (receipt.verdict == Ledger::Verdict::full) return drop(Reason::cardinality, records);
  const Arrived arrived{envelope, *receipt.entry, received,
                        keep_messages_ ? message : std::string_view()};
  if (!envelope.points.empty() || (keep_messages_ && envelope.spans.empty())) take_points(arrived);
  if (!envelope.spans.empty()) take_spans(arrived);
}

void Intake::refuse(Reason reason, uint64_t bytes) {
  const MutexLock lock(mutex_);
  count_refused(reason, bytes);
}

void Intake::count_refused(Reason reason, uint64_t bytes) {
  ++counts_.envelopes_refused[static_cast<size_t>(reason)];
  counts_.refused_bytes += bytes;
}

void Intake::drop(Reason reason, uint64_t records) {
  counts_.records_dropped[static_cast<size_t>(reason)] += records;
}

void Intake::observe_latency(const wire::EnvelopeView& envelope, const Now& received) {
  // An equal boot id is only a hint: a time namespace shifts the monotonic clock, not the boot id.
  if (envelope.mono_ns && envelope.boot && is_boot(*envelope.boot, boot_)) {
    const uint64_t theirs = envelope.sent_ns - *envelope.mono_ns;
    const uint64_t ours = received.wall_ns - received.mono_ns;
    if (std::min(theirs - ours, ours - theirs) <= kMillisecond) {
      const uint64_t sent = std::min(*envelope.mono_ns, received.mono_ns);
      latency_[static_cast<size_t>(LatencyMethod::mono)].observe_ns(received.mono_ns - sent);
      return;
    }
  }
  // The difference of two wall clocks has no known error; the label says so.  It is observed all
  // the same, so that the count is that of the envelopes and a delay of seconds shows.  More than
  // an hour is a wrong clock, not a delay.
  const uint64_t sent = std::min(envelope.sent_ns, received.wall_ns);
  latency_[static_cast<size_t>(LatencyMethod::none)].observe_ns(
      std::min(received.wall_ns - sent, 3'600 * kSecond));
}

Batch& Intake::open_batch(Signal signal, size_t records) {
  const auto index = static_cast<size_t>(signal);
  std::shared_ptr<Batch>& batch = open_[index];
  if (batch) return *batch;
  batch = std::make_shared<Batch>();
  batch->signal = signal;
  // As much as the last one held, but no large block for a small envelope after a burst.
  const size_t room = std::clamp(last_records_[index], records, 8 * records);
  if (signal == Signal::metrics) {
    batch->points.reserve(room);
  } else {
    batch->spans.reserve(room);
  }
  batch->arena = Arena(std::clamp(last_bytes_[index], kLeastArenaBytes,
                                  std::max(kLeastArenaBytes, room * sizeof(Span))));
  return *batch;
}

void Intake::take_points(const Arrived& arrived) {
  const wire::EnvelopeView& envelope = arrived.envelope;
  Batch& batch = open_batch(Signal::metrics, envelope.points.size());
  const size_t begin = batch.points.size();
  for (const wire::FamilyView& group : envelope.families) {
    if (group.begin < group.end) take_family(arrived, group, batch);
  }
  close_segment(arrived, batch, begin);
}

void Intake::close_segment(const Arrived& arrived, Batch& batch, size_t begin) {
  if (batch.records() == begin && arrived.message.empty()) return;
  const wire::EnvelopeView& envelope = arrived.envelope;
  Segment& segment = batch.segments.emplace_back(
      Segment{arrived.entry.incarnation, envelope.seq, envelope.sent_ns, envelope.oldest_ns,
              arrived.received.mono_ns, begin, batch.records(), arrived.received.wall_ns});
  if (!arrived.message.empty()) segment.message = batch.arena.copy(arrived.message);
}

void Intake::take_family(const Arrived& arrived, const wire::FamilyView& group, Batch& batch) {
  const auto resolved = table_.family(group.family);
  if (!resolved) return drop(resolved.error(), group.end - group.begin);
  KnownFamily& family = *resolved.value();
  const Family& meaning = *family.family;
  const wire::EnvelopeView& envelope = arrived.envelope;
  if (!arrived.entry.series) {
    arrived.entry.series = std::make_unique<PublisherSeries>(table_, arrived.entry.incarnation);
  }
  for (const wire::PointView& view :
       envelope.points.subspan(group.begin, group.end - group.begin)) {
    if (view.refused) {
      drop(*view.refused);
      continue;
    }
    if (const auto wrong = wire::check_value(meaning, view)) {
      drop(*wrong);
      continue;
    }
    KnownSeries* known = arrived.entry.series->find(family, view.labels);
    if (known == nullptr) known = add_series(arrived, family, view.labels);
    if (known == nullptr) continue;
    // Increments add up in any order; of totals and gauges only the newest counts.
    if (envelope.seq < known->seq && !meaning.delta) {
      drop(Reason::late);
      continue;
    }
    const uint64_t bits = value_bits(view);
    Point& point = batch.points.emplace_back();
    point.series = known->series;
    point.time_ns = view.time_ns != 0 ? view.time_ns : envelope.sent_ns;
    point.changed = known->seq == 0 || meaning.delta || bits != known->value_bits ||
                    (view.time_ns != 0 && view.time_ns != known->time_ns);
    if (view.is_scalar) point.value = view.value;
    if (view.histogram) point.histogram = keep_histogram(batch.arena, *view.histogram);
    if (view.exponential) point.exponential = keep_exponential(batch.arena, *view.exponential);
    if (view.exemplar) point.exemplar = keep(batch.arena, *view.exemplar);
    known->seq = std::max(known->seq, envelope.seq);
    known->value_bits = bits;
    known->time_ns = view.time_ns;
  }
  table_.release(&family);
}

KnownSeries* Intake::add_series(const Arrived& arrived, KnownFamily& family,
                                std::string_view labels) {
  PublisherSeries& series = *arrived.entry.series;
  PublisherSeries::Added added = series.add(family, labels);
  // Who is gone makes way for who lives.
  while (added.is_over_limit && table_.is_held_by_gone(added.limit, family) &&
         ledger_.forget_oldest_gone(&arrived.entry)) {
    added = series.add(family, labels);
  }
  if (added.is_over_limit) {
    table_.note_refused(added.limit, family, arrived.envelope.inc, 1);
    drop(Reason::cardinality);
  } else if (added.series == nullptr) {
    drop(Reason::bad_value);
  }
  return added.series;
}

void Intake::take_spans(const Arrived& arrived) {
  const wire::EnvelopeView& envelope = arrived.envelope;
  Batch& batch = open_batch(Signal::spans, envelope.spans.size());
  const size_t begin = batch.spans.size();
  for (const wire::SpanView& view : envelope.spans) {
    if (view.refused) {
      drop(*view.refused);
    } else {
      batch.spans.push_back(keep_span(batch.arena, view.span));
    }
  }
  close_segment(arrived, batch, begin);
}

void Intake::deliver(BatchReceiver& out) {
  std::array<std::shared_ptr<Batch>, kSignalCount> batches;
  {
    const MutexLock lock(mutex_);
    for (size_t i = 0; i < kSignalCount; ++i) {
      if (!open_[i]) continue;
      last_records_[i] = open_[i]->records();
      last_bytes_[i] = open_[i]->arena.bytes();
    }
    batches.swap(open_);
    is_delivering_ = true;
  }
  for (auto& batch : batches) {
    if (batch && !batch->segments.empty()) out.receive(std::move(batch));
  }
  const MutexLock lock(mutex_);
  is_delivering_ = false;
  ++deliveries_;
  if (waiting_ > 0) delivered_.notify();
}

void Intake::step(const Now& now) {
  const MutexLock lock(mutex_);
  ledger_.step(now);
}

CollectorStats Intake::stats() const {
  const MutexLock lock(mutex_);
  CollectorStats stats = counts_;
  const Ledger::Totals& totals = ledger_.totals();
  stats.dropped_at_publishers = totals.dropped_at_publishers;
  stats.gaps = totals.gaps;
  stats.spans_lost = totals.spans_lost;
  stats.resources_changed = totals.resources_changed;
  for (size_t i = 0; i < kLatencyMethodCount; ++i) {
    stats.transport_latency[i] = latency_[i].snapshot();
  }
  stats.publishers = ledger_.lives();
  stats.series = table_.series();
  stats.series_limit = table_.limits().series;
  stats.offenders = table_.offenders(kTopRows);
  stats.largest_metrics = table_.largest_metrics(kTopRows);
  return stats;
}

std::vector<PublisherView> Intake::publishers(size_t limit) const {
  const MutexLock lock(mutex_);
  return ledger_.publishers(limit);
}

void Intake::wait_delivered() const {
  const MutexLock lock(mutex_);
  const bool is_waiting = is_delivering_ || open_[0] || open_[1];
  const uint64_t before = deliveries_;
  const uint64_t deadline_ns = mono_now_ns() + kSecond;
  ++waiting_;
  while (is_waiting && deliveries_ == before && mono_now_ns() < deadline_ns) {
    delivered_.wait_for(mutex_, std::chrono::milliseconds(100));
  }
  --waiting_;
}

std::string Intake::save(const Now& now, bool is_clean) const {
  const MutexLock lock(mutex_);
  return ledger_.save(now, is_clean);
}

Result<size_t> Intake::load(std::string_view bytes, const Now& now) {
  const MutexLock lock(mutex_);
  return ledger_.load(bytes, now);
}

}  // namespace insight
