// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "bus/aggregate/aggregate_state.hpp"
#include "bus/aggregate/merge_key.hpp"
#include "bus/base/text.hpp"

namespace insight {

namespace {

void append_count(std::string& out, uint64_t count) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), count).ptr;
  out.append(digits.data(), end);
}

void append_number(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "NaN";
  } else if (std::isinf(value)) {
    out += value > 0 ? "+Inf" : "-Inf";
  } else if (value >= 0 && value < 9007199254740992.0 && value == std::floor(value)) {
    append_count(out, static_cast<uint64_t>(value));
  } else {
    std::array<char, 32> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    out.append(digits.data(), end);
  }
}

/// Writes the exposition of one family after the other.
class Renderer {
 public:
  /// `revision` grows when a value is shown that the snapshot does not know as shown.
  Renderer(const AggregateOptions& options, const Now& now, uint64_t& revision, std::string& out)
      : revision_(revision),
        out_(out),
        oldest_s_(static_cast<int64_t>(now.mono_ns / kSecond) -
                  static_cast<int64_t>(options.keep_ended_ns / kSecond)) {}

  void family(MergedFamily& family) {
    family_ = &family;
    has_header_ = false;
    for (MergedSeries* each : family.in_order) {
      MergedSeries& series = *each;
      if (series.first == nullptr) continue;
      if (family.kind == Kind::counter) {
        counter(series);
      } else if (family.kind == Kind::histogram) {
        histogram(series);
      } else if (family.mode == GaugeMode::each) {
        each_gauge(series);
      } else {
        gauge(series);
      }
    }
  }

 private:
  bool is_current(const Contribution& contribution) const noexcept {
    return contribution.heard_s > oldest_s_;
  }

  bool is_shown(const Contribution& gauge) const noexcept {
    return gauge.owner->shows_gauges && is_current(gauge);
  }

  /// A sum of the same numbers in another order (after a retirement, after a restart) may come out
  /// smaller in its last digits; it must not be shown so.  `may_fall`: the sum of a histogram falls
  /// for good where values below zero are observed.
  double never_falling(double sum, MergedSeries& series, bool may_fall) {
    const double shown = series.exported;
    const bool is_rounding = shown - sum <= 1e-9 * std::abs(shown);
    if (sum == shown || (sum < shown && (!may_fall || is_rounding))) return shown;
    ++revision_;
    return series.exported = sum;
  }

  /// Starts a line: the name, and the labels but for the closing brace.
  void begin(const MergedSeries& series, std::string_view suffix, bool more_labels) {
    if (!has_header_) header();
    out_ += family_->name;
    out_ += suffix;
    if (series.labels->empty() && !more_labels) return;
    out_ += '{';
    out_ += *series.labels;
    if (more_labels && !series.labels->empty()) out_ += ',';
  }

  void sample(const MergedSeries& series, std::string_view suffix, double value) {
    begin(series, suffix, false);
    out_ += series.labels->empty() ? " " : "} ";
    append_number(out_, value);
    out_ += '\n';
  }

  void header() {
    has_header_ = true;
    if (!family_->help.empty()) {
      out_ += "# HELP " + family_->name + ' ' + escape_help(family_->help) + '\n';
    }
    out_ += "# TYPE " + family_->name + ' ' + std::string(to_string(family_->kind)) + '\n';
  }

  void counter(MergedSeries& series) {
    double sum = series.retired;
    bool is_anyone_current = false;
    for (const Contribution* c = series.first; c != nullptr; c = c->next) {
      sum += c->value - c->base;
      is_anyone_current = is_anyone_current || is_current(*c);
    }
    if (is_anyone_current) sample(series, "", never_falling(sum, series, false));
  }

  void histogram(MergedSeries& series) {
    totals_.sum = 0;
    totals_.buckets.assign(family_->bounds.size() + 1, 0);
    if (series.retired_histogram != nullptr) totals_.add(*series.retired_histogram, {});
    bool is_anyone_current = false;
    for (const Contribution* c = series.first; c != nullptr; c = c->next) {
      totals_.add(c->histogram->value, c->histogram->base);
      is_anyone_current = is_anyone_current || is_current(*c);
    }
    if (!is_anyone_current) return;
    uint64_t count = 0;
    for (size_t i = 0; i < totals_.buckets.size(); ++i) {
      count = add_bounded(count, totals_.buckets[i]);
      begin(series, "_bucket", true);
      out_ += family_->bucket_labels[i];
      append_count(out_, count);
      out_ += '\n';
    }
    sample(series, "_sum", never_falling(totals_.sum, series, true));
    begin(series, "_count", false);
    out_ += series.labels->empty() ? " " : "} ";
    append_count(out_, count);
    out_ += '\n';
  }

  void gauge(const MergedSeries& series) {
    const Contribution* newest = nullptr;
    double sum = 0, smallest = 0, largest = 0;
    size_t count = 0;
    for (const Contribution* c = series.first; c != nullptr; c = c->next) {
      if (!is_shown(*c)) continue;
      if (newest == nullptr || c->arrival > newest->arrival) newest = c;
      sum += c->value;
      smallest = count == 0 ? c->value : std::fmin(smallest, c->value);
      largest = count == 0 ? c->value : std::fmax(largest, c->value);
      ++count;
    }
    if (newest == nullptr) return;
    switch (family_->mode) {
      case GaugeMode::sum:
        return sample(series, "", sum);
      case GaugeMode::min:
        return sample(series, "", smallest);
      case GaugeMode::max:
        return sample(series, "", largest);
      case GaugeMode::mean:
        return sample(series, "", sum / static_cast<double>(count));
      default:
        return sample(series, "", newest->value);
    }
  }

  void each_gauge(const MergedSeries& series) {
    for (const Contribution* c = series.first; c != nullptr; c = c->next) {
      if (!is_shown(*c)) continue;
      begin(series, "", true);
      out_ += "publisher=\"" + to_hex(c->owner->id.view()) + "\"} ";
      append_number(out_, c->value);
      out_ += '\n';
    }
  }

  uint64_t& revision_;
  std::string& out_;
  const int64_t oldest_s_;
  const MergedFamily* family_ = nullptr;
  bool has_header_ = false;
  HistogramTotals totals_;
};

}  // namespace

void render_state(AggregateState& state, const Now& now, std::string& out) {
  out.reserve(state.rendered_bytes + state.rendered_bytes / 16 + 4096);
  Renderer renderer(state.options, now, state.revision, out);
  for (auto& [name, family] : state.families.families()) renderer.family(family);
  state.rendered_bytes = out.size();
}

}  // namespace insight
