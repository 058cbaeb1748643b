// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string>

#include "bus/base/text.hpp"
#include "bus/ledger/ledger.hpp"
#include "bus/wire/pack.hpp"

namespace insight {

namespace {

// [format, wall clock, [incarnation, ...]] and then a hash of all that.  Number 2 follows
// when a field changes its meaning.
constexpr uint64_t kFormat = 1;
constexpr uint32_t kFields = 26;
constexpr uint64_t kHashKey = 0x1ED6E5;  // finds damage, not intent

void save_entry(const Ledger::Entry& entry, bool is_clean, uint64_t gone_for_ns,
                wire::Packer& pack) {
  const Incarnation& incarnation = *entry.incarnation;
  const Sequence& sequence = entry.sequence;
  pack.array(kFields);
  pack.bin(incarnation.id.view());
  pack.uint(incarnation.t0_ns);
  pack.bin(entry.resource);
  pack.uint(incarnation.every_ns());
  pack.uint(static_cast<uint64_t>(incarnation.life()));
  pack.uint(gone_for_ns);
  pack.uint(sequence.first());
  pack.uint(sequence.highest());
  pack.uint(sequence.counted());
  pack.uint(sequence.gaps());
  pack.bin(sequence.save_holes());
  pack.uint(entry.bye_seq);
  pack.uint(entry.last_seen_wall_ns);
  pack.uint(entry.envelopes);
  pack.uint(entry.points);
  pack.uint(entry.spans);
  pack.uint(entry.duplicates);
  pack.uint(entry.late);
  pack.map(static_cast<uint32_t>(entry.accounts.size()));
  for (const auto& [name, value] : entry.accounts) {
    pack.str(name);
    pack.uint(value);
  }
  pack.uint(entry.account_seq);
  pack.uint(entry.spans_sent);
  pack.uint(entry.spans_received);
  pack.uint(entry.spans_before);
  pack.boolean(entry.is_spans_before_known);
  pack.uint(entry.spans_lost);
  pack.boolean(entry.is_stale || !is_clean);
}

struct Loaded {
  IncarnationId id;
  uint64_t t0_ns = 0;
  uint64_t every_ns = 0;
  uint64_t life = 0;
  uint64_t gone_for_ns = 0;
  Resource resource;
};

bool load_entry(wire::Unpacker& in, uint64_t now_ns, Ledger::Entry& entry, Loaded& out) {
  uint32_t fields = 0, accounts = 0;
  std::string_view id, resource, holes;
  uint64_t first = 0, highest = 0, counted = 0, gaps = 0;
  const bool is_read = in.array(fields) && fields == kFields && in.bin(id) && in.uint(out.t0_ns) &&
                       in.bin(resource) && in.uint(out.every_ns) && in.uint(out.life) &&
                       in.uint(out.gone_for_ns) && in.uint(first) && in.uint(highest) &&
                       in.uint(counted) && in.uint(gaps) && in.bin(holes) &&
                       in.uint(entry.bye_seq) && in.uint(entry.last_seen_wall_ns) &&
                       in.uint(entry.envelopes) && in.uint(entry.points) && in.uint(entry.spans) &&
                       in.uint(entry.duplicates) && in.uint(entry.late) && in.map(accounts);
  if (!is_read || id.size() != out.id.bytes.size() || out.life > 3) return false;
  for (uint32_t i = 0; i < accounts; ++i) {
    std::string_view name;
    uint64_t value = 0;
    if (!in.str(name) || !in.uint(value)) return false;
    entry.accounts.emplace_back(name, value);
    entry.bytes += sizeof entry.accounts[0] + name.size();
  }
  if (!in.uint(entry.account_seq) || !in.uint(entry.spans_sent) || !in.uint(entry.spans_received) ||
      !in.uint(entry.spans_before) || !in.boolean(entry.is_spans_before_known) ||
      !in.uint(entry.spans_lost) || !in.boolean(entry.is_stale)) {
    return false;
  }
  if (!entry.sequence.load(first, highest, counted, gaps, holes, now_ns)) return false;
  auto decoded = wire::decode_resource(resource);
  if (!decoded) return false;
  out.resource = std::move(decoded.value());
  std::copy(id.begin(), id.end(), reinterpret_cast<char*>(out.id.bytes.data()));
  entry.resource = resource;
  entry.bytes += 3 * resource.size();
  return true;
}

}  // namespace

std::string Ledger::save(const Now& now, bool is_clean) const {
  const uint64_t now_ns = last_call_ns_ - stopped_ns_;
  std::string bytes;
  wire::Packer pack(bytes);
  pack.array(3);
  pack.uint(kFormat);
  pack.uint(now.wall_ns);
  pack.array(static_cast<uint32_t>(entries_.size()));
  for (const auto& [id, entry] : entries_) {
    save_entry(entry, is_clean, now_ns - std::min(now_ns, entry.gone_ns), pack);
  }
  pack.uint(keyed_hash(bytes, kHashKey));
  return bytes;
}

Result<size_t> Ledger::load(std::string_view bytes, const Now& now) {
  const uint64_t now_ns = listen(now);
  const auto fail = [&](std::string_view why) -> Result<size_t> {
    entries_.clear();
    wakes_.clear();
    gone_.clear();
    lives_ = {};
    bytes_ = 0;
    return Error{std::string(why)};
  };
  wire::Unpacker in(bytes);
  uint32_t fields = 0, count = 0;
  uint64_t format = 0, saved_wall_ns = 0, hash = 0;
  if (!in.array(fields) || fields != 3 || !in.uint(format)) return fail("it is no ledger snapshot");
  if (format != kFormat) return fail("it has format " + std::to_string(format) + ", not 1");
  if (!in.uint(saved_wall_ns) || !in.array(count)) {
    return fail("it is damaged");
  }
  const uint64_t down_ns = now.wall_ns - std::min(now.wall_ns, saved_wall_ns);
  const auto before = [](uint64_t time_ns, uint64_t ago_ns) {
    return time_ns - std::min(time_ns, ago_ns);
  };
  for (uint32_t i = 0; i < count; ++i) {
    Entry loaded;
    Loaded base;
    if (!load_entry(in, now_ns, loaded, base)) return fail("it is damaged");
    const auto [at, is_new] = entries_.try_emplace(base.id, std::move(loaded));
    if (!is_new) return fail("it holds an incarnation twice");
    Entry& entry = at->second;
    entry.incarnation =
        std::make_shared<Incarnation>(base.id, base.t0_ns, std::move(base.resource),
                                      every_ns_of(base.every_ns / kMillisecond), ids_);
    const auto was = static_cast<Life>(base.life);
    const bool is_gone = was == Life::ended || was == Life::lost;
    const uint64_t gone_for_ns = add_capped(base.gone_for_ns, down_ns);
    // Whoever was there may have gone meanwhile: late, until it is heard or its time is over.
    entry.incarnation->set_life(is_gone ? was : Life::late,
                                is_gone ? before(now.mono_ns, gone_for_ns) : now.mono_ns);
    entry.gone_ns = is_gone ? before(now_ns, gone_for_ns) : 0;
    entry.heard_ns = now_ns;
    entry.last_seen_mono_ns = before(now.mono_ns, before(now.wall_ns, entry.last_seen_wall_ns));
    insert_timers(entry);
  }
  const size_t hashed = bytes.size() - in.rest().size();
  if (!in.uint(hash) || !in.at_end() || hash != keyed_hash(bytes.substr(0, hashed), kHashKey)) {
    return fail("it is damaged");
  }
  return entries_.size();
}

}  // namespace insight
