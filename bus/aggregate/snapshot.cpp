// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "bus/aggregate/aggregate_state.hpp"
#include "bus/aggregate/bytes.hpp"
#include "bus/base/text.hpp"

// The layout: magic, version, hash key, checksum of the body; the body: counters, contributors,
// families with their series and their contributions (which name a contributor by its number in the
// order of writing), tombstones.  Another layout is another version, and so is another keyed_hash()
// or instrument_hash().  Version 1 has no units and no `created` of series; it is read, too.
namespace insight {

namespace {

constexpr std::string_view kMagic = "insight-aggregate";
constexpr uint32_t kVersion = 2;
constexpr uint32_t kOldestVersion = 1;
constexpr uint64_t kChecksumKey = 0x696e7369676874;
constexpr int64_t kForever_s = 1'000'000'000;
constexpr size_t kHeaderBytes = kMagic.size() + sizeof(uint32_t) + 2 * sizeof(uint64_t);

void save_totals(ByteWriter& writer, const HistogramTotals& totals) {
  writer.number(totals.sum);
  writer.numbers(totals.buckets);
}

void save_contributors(AggregateState& state, const Now& now, ByteWriter& writer) {
  uint32_t number = 0;
  writer.number(static_cast<uint32_t>(state.contributors.size()));
  for (auto& [id, contributor] : state.contributors) {
    contributor.number = number++;
    for (unsigned char byte : id.bytes) writer.number(byte);
    writer.number(contributor.every_ns);
    writer.number(static_cast<uint8_t>(contributor.life));
    writer.number(static_cast<uint8_t>(contributor.is_resync));
    // Monotonic time means nothing to the next boot.
    const int64_t age_ns = static_cast<int64_t>(now.mono_ns) - contributor.since_ns;
    writer.number(std::max<int64_t>(static_cast<int64_t>(now.wall_ns) - age_ns, 0));
  }
}

void save_series(const MergedSeries& series, int64_t now_s, ByteWriter& writer) {
  writer.text(*series.labels);
  writer.number(series.retired);
  writer.number(series.exported);
  writer.number(series.dormant_wall_ns);
  writer.number(series.created_s);
  const bool is_histogram = series.family->kind == Kind::histogram;
  if (is_histogram) {
    save_totals(writer, series.extras ? series.extras->retired : HistogramTotals{});
  }
  uint32_t count = 0;
  for (const Contribution* c = series.first; c != nullptr; c = c->next) ++count;
  writer.number(count);
  for (const Contribution* c = series.first; c != nullptr; c = c->next) {
    const int64_t age_s = std::clamp<int64_t>(now_s - c->heard_s, 0, kForever_s);
    writer.number(c->owner->number);
    writer.number(c->instrument);
    writer.number(static_cast<uint8_t>(c->taking));
    writer.number(static_cast<int32_t>(age_s));
    writer.number(c->value);
    writer.number(c->base);
    writer.number(c->arrival);
    if (!is_histogram) continue;
    save_totals(writer, c->histogram->value);
    save_totals(writer, c->histogram->base);
  }
}

void save_families(AggregateState& state, const Now& now, ByteWriter& writer) {
  const auto now_s = static_cast<int64_t>(now.mono_ns / kSecond);
  auto& families = state.families.families();
  writer.number(static_cast<uint32_t>(families.size()));
  for (const auto& [name, family] : families) {
    writer.text(name);
    writer.number(static_cast<uint8_t>(family.kind));
    writer.number(static_cast<uint8_t>(family.mode));
    writer.text(family.help);
    writer.text(family.unit);
    writer.text(family.publisher);
    writer.numbers(family.bounds);
    writer.number(static_cast<uint32_t>(family.names.size()));
    for (const std::string& held : family.names) writer.text(held);
    writer.number(static_cast<uint32_t>(family.in_order.size()));
    for (const MergedSeries* series : family.in_order) {
      save_series(*series, now_s, writer);
    }
  }
}

HistogramTotals load_totals(ByteReader& reader) {
  HistogramTotals totals;
  totals.sum = reader.real();
  totals.buckets.resize(reader.count(sizeof(uint64_t)));
  for (uint64_t& bucket : totals.buckets) bucket = reader.number<uint64_t>();
  if (!std::isfinite(totals.sum)) reader.fail();
  return totals;
}

/// True when these can be the values of a histogram with so many buckets, and `base` a part of
/// them.
bool is_histogram_of(size_t buckets, const HistogramTotals& value, const HistogramTotals& base,
                     bool may_be_empty) {
  if (value.buckets.empty() && may_be_empty) return true;
  if (value.buckets.size() != buckets) return false;
  if (base.buckets.empty()) return true;
  return base.buckets.size() == buckets &&
         std::ranges::equal(base.buckets, value.buckets, std::less_equal<>{});
}

bool is_right_kind(Taking taking, Kind kind) noexcept {
  switch (taking) {
    case Taking::counter:
    case Taking::counter_delta:
      return kind == Kind::counter;
    case Taking::gauge:
      return kind == Kind::gauge;
    case Taking::histogram:
    case Taking::histogram_delta:
      return kind == Kind::histogram;
    case Taking::refused:
      break;
  }
  return false;
}

/// Fills an empty state; the reader is no longer good when something is wrong.
class Loader {
 public:
  Loader(AggregateState& state, ByteReader& reader, uint32_t version, const Now& now)
      : state_(state), reader_(reader), has_units_and_starts_(version > 1), now_(now) {}

  void contributors() {
    const size_t count = reader_.count(1);
    for (size_t i = 0; i < count && reader_.is_good(); ++i) contributor();
  }

  void families() {
    const size_t count = reader_.count(1);
    for (size_t i = 0; i < count && reader_.is_good(); ++i) family();
  }

  void tombstones() {
    const size_t count = reader_.count(1);
    for (size_t i = 0; i < count && reader_.is_good(); ++i) {
      const IncarnationId id = incarnation_id();
      state_.tombstones.add(id, reader_.number<uint64_t>());
    }
  }

 private:
  IncarnationId incarnation_id() {
    IncarnationId id;
    for (unsigned char& byte : id.bytes) byte = reader_.number<unsigned char>();
    return id;
  }

  void contributor() {
    const IncarnationId id = incarnation_id();
    const auto [at, is_new] = state_.contributors.try_emplace(id);
    Contributor& contributor = at->second;
    contributor.id = id;
    contributor.every_ns = reader_.number<uint64_t>();
    const auto life = reader_.number<uint8_t>();
    contributor.is_resync = reader_.number<uint8_t>() != 0;
    const auto since_wall_ns = reader_.number<int64_t>();
    if (!is_new || life > static_cast<uint8_t>(Life::ended)) return reader_.fail();
    contributor.life = static_cast<Life>(life);
    contributor.since_ns = static_cast<int64_t>(now_.mono_ns);
    if (contributor.life == Life::ended || contributor.life == Life::lost) {
      const auto wall_ns = static_cast<int64_t>(now_.wall_ns);
      contributor.since_ns -= wall_ns - std::clamp<int64_t>(since_wall_ns, 0, wall_ns);
    } else {
      contributor.life = Life::late;
    }
    contributors_.push_back(&contributor);
  }

  void family() {
    MergedFamily read;
    read.name = reader_.text();
    const auto kind = reader_.number<uint8_t>();
    const auto mode = reader_.number<uint8_t>();
    read.help = reader_.text();
    if (has_units_and_starts_) read.unit = reader_.text();
    read.publisher = reader_.text();
    read.bounds.resize(reader_.count(sizeof(double)));
    for (double& bound : read.bounds) bound = reader_.real();
    read.names.resize(reader_.count(sizeof(uint32_t)));
    for (std::string& held : read.names) held = reader_.text();
    if (kind > static_cast<uint8_t>(Kind::histogram)) reader_.fail();
    if (mode > static_cast<uint8_t>(GaugeMode::each)) reader_.fail();
    const size_t count = reader_.count(1);
    if (!reader_.is_good()) return;
    read.kind = static_cast<Kind>(kind);
    read.mode = static_cast<GaugeMode>(mode);

    // A name that the bus uses itself since it was updated: its series are read and left out.
    FamilyTable left_out({}, {}, 0);
    FamilyTable& table = state_.families.can_restore(read) ? state_.families : left_out;
    MergedFamily& family = table.restore(std::move(read));
    for (size_t i = 0; i < count && reader_.is_good(); ++i) series(table, family);
  }

  void series(FamilyTable& table, MergedFamily& family) {
    std::string labels(reader_.text());
    labels.shrink_to_fit();
    const double retired = reader_.real();
    const double exported = reader_.real();
    const auto dormant_wall_ns = reader_.number<uint64_t>();
    const auto created_s = has_units_and_starts_ ? reader_.number<uint32_t>() : 0;
    if (!(retired >= 0) || std::isnan(exported)) reader_.fail();
    if (!reader_.is_good()) return;
    MergedSeries* series = table.restore_series(family, std::move(labels), dormant_wall_ns);
    if (series == nullptr) return reader_.fail();
    series->retired = retired;
    series->exported = exported;
    series->created_s = created_s;
    if (family.kind == Kind::histogram) {
      HistogramTotals totals = load_totals(reader_);
      if (!is_histogram_of(family.bounds.size() + 1, totals, {}, true)) return reader_.fail();
      if (!totals.buckets.empty()) series->own_extras().retired = std::move(totals);
    }
    const size_t count = reader_.count(1);
    const bool is_kept = &table == &state_.families;
    for (size_t i = 0; i < count && reader_.is_good(); ++i) contribution(*series, is_kept);
    if (is_kept && series->first == nullptr && dormant_wall_ns == 0) reader_.fail();
  }

  void contribution(MergedSeries& series, bool is_kept) {
    const auto number = reader_.number<uint32_t>();
    Contribution read;
    read.instrument = reader_.number<uint64_t>();
    read.taking = static_cast<Taking>(reader_.number<uint8_t>());
    const auto age_s = reader_.number<int32_t>();
    read.value = reader_.real();
    read.base = reader_.real();
    read.arrival = reader_.number<uint64_t>();
    if (number >= contributors_.size() || age_s < 0) reader_.fail();
    if (!is_right_kind(read.taking, series.family->kind)) reader_.fail();
    if (!reader_.is_good()) return;
    read.heard_s = static_cast<int32_t>(now_.mono_ns / kSecond) - age_s;
    read.owner = contributors_[number];
    if (series.family->kind == Kind::histogram) {
      read.histogram = std::make_unique<HistogramPart>();
      HistogramPart& part = *read.histogram;
      part.value = load_totals(reader_);
      part.base = load_totals(reader_);
      const size_t buckets = series.family->bounds.size() + 1;
      if (!is_histogram_of(buckets, part.value, part.base, false)) return reader_.fail();
    } else if (read.taking != Taking::gauge && !(read.base >= 0 && read.value >= read.base)) {
      return reader_.fail();
    }
    if (!is_kept) return;
    auto& all = read.owner->contributions;
    const auto [at, is_new] = all.try_emplace(read.instrument, std::move(read));
    if (!is_new) return reader_.fail();
    state_.families.link(series, at->second);
  }

  AggregateState& state_;
  ByteReader& reader_;
  const bool has_units_and_starts_;
  const Now& now_;
  std::vector<Contributor*> contributors_;  ///< by number
};

}  // namespace

std::string save_state(AggregateState& state, const Now& now) {
  std::string out;
  out.reserve(state.saved_bytes + state.saved_bytes / 16 + 4096);
  ByteWriter writer(out);
  out += kMagic;
  writer.number(kVersion);
  writer.number(state.families.hash_key());
  writer.number(uint64_t{0});  // the checksum, below

  writer.number(state.arrivals);
  writer.number(state.resyncs);
  save_contributors(state, now, writer);
  save_families(state, now, writer);
  writer.number(static_cast<uint32_t>(state.tombstones.size()));
  for (const auto& [wall_ns, id] : state.tombstones.oldest_first()) {
    for (unsigned char byte : id.bytes) writer.number(byte);
    writer.number(wall_ns);
  }

  const uint64_t checksum = keyed_hash(std::string_view(out).substr(kHeaderBytes), kChecksumKey);
  std::memcpy(out.data() + kHeaderBytes - sizeof checksum, &checksum, sizeof checksum);
  state.saved_bytes = out.size();
  return out;
}

Result<uint64_t> snapshot_hash_key(std::string_view bytes) {
  ByteReader reader(bytes);
  if (reader.take(kMagic.size()) != kMagic) return Error{"it is no snapshot of an aggregate"};
  const auto version = reader.number<uint32_t>();
  const auto key = reader.number<uint64_t>();
  const auto checksum = reader.number<uint64_t>();
  if (!reader.is_good()) return Error{"it ends too early"};
  if (version < kOldestVersion || version > kVersion) {
    return Error{"it has version " + std::to_string(version) + ", only versions " +
                 std::to_string(kOldestVersion) + " to " + std::to_string(kVersion) + " are known"};
  }
  if (checksum != keyed_hash(bytes.substr(kHeaderBytes), kChecksumKey)) {
    return Error{"its checksum is wrong: it was cut off or changed"};
  }
  return key;
}

Result<uint64_t> load_state(AggregateState& state, std::string_view bytes, const Now& now) {
  ByteReader header(bytes.substr(kMagic.size()));
  const auto version = header.number<uint32_t>();
  ByteReader reader(bytes.substr(kHeaderBytes));
  state.arrivals = reader.number<uint64_t>();
  state.resyncs = reader.number<uint64_t>();
  Loader loader(state, reader, version, now);
  loader.contributors();
  loader.families();
  loader.tombstones();
  if (!reader.is_good() || !reader.at_end()) return Error{"its contents contradict each other"};
  return state.families.live();
}

}  // namespace insight
