// SPDX-License-Identifier: Apache-2.0
#include "bus/ledger/sequence.hpp"

#include <algorithm>

namespace insight {

Sequence::Holes& Sequence::holes() {
  if (!holes_) {
    holes_ = std::make_unique<Holes>();
    holes_->counted = highest_;
  }
  return *holes_;
}

bool Sequence::is_missing(uint64_t seq) const noexcept {
  return holes_ && seq <= highest_ && highest_ - seq < kWindow &&
         holes_->missing.test(seq % kWindow);
}

void Sequence::fill(uint64_t seq) noexcept {
  holes_->missing.reset(seq % kWindow);
  if (--holes_->count == 0) holes_.reset();
}

void Sequence::leave_window(uint64_t seq) noexcept {
  if (!holes_ || !holes_->missing.test(seq % kWindow)) return;
  if (seq > holes_->counted) gaps_ = add_capped(gaps_, 1);
  fill(seq);
}

Sequence::Arrival Sequence::arrive(uint64_t seq, uint64_t now_ns) {
  if (first_ == 0) {
    first_ = highest_ = seq;
    if (seq == 1) return Arrival::fresh;
    Holes& open = holes();
    for (uint64_t n = seq - std::min(seq - 1, kWindow - 1); n < seq; ++n) {
      open.missing.set(n % kWindow);
      ++open.count;
    }
    return Arrival::fresh;
  }
  settle(now_ns);
  if (seq <= highest_) {
    if (!is_missing(seq)) return Arrival::duplicate;
    fill(seq);
    return Arrival::late;
  }
  const uint64_t before = highest_;
  const uint64_t oldest_kept = seq >= kWindow ? seq - kWindow + 1 : 1;
  if (holes_) {
    const uint64_t window_start = before >= kWindow ? before - kWindow + 1 : 1;
    for (uint64_t n = window_start; n < oldest_kept && n <= before && holes_; ++n) leave_window(n);
  }
  if (seq == before + 1) {
    highest_ = seq;
    return Arrival::fresh;
  }
  if (oldest_kept > before + 1) gaps_ = add_capped(gaps_, oldest_kept - before - 1);
  Holes& open = holes();
  highest_ = seq;
  for (uint64_t n = std::max(before + 1, oldest_kept); n < seq; ++n) {
    open.missing.set(n % kWindow);
    ++open.count;
  }
  const bool joins =
      open.mark_count == open.marks.size() ||
      (open.mark_count > 0 && now_ns - open.marks[open.mark_count - 1].since_ns < kMarkNs);
  if (!joins) open.marks[open.mark_count++] = {0, now_ns};
  open.marks[open.mark_count - 1].upto = seq - 1;
  return Arrival::fresh;
}

void Sequence::settle(uint64_t now_ns) {
  while (holes_ && holes_->mark_count > 0 &&
         now_ns >= holes_->marks[0].since_ns + kMarkNs + kGapAfterNs) {
    const uint64_t upto = holes_->marks[0].upto;
    const uint64_t window_start = highest_ >= kWindow ? highest_ - kWindow + 1 : 1;
    for (uint64_t n = std::max(holes_->counted + 1, window_start); n <= upto; ++n) {
      if (holes_->missing.test(n % kWindow)) gaps_ = add_capped(gaps_, 1);
    }
    holes_->counted = std::max(holes_->counted, upto);
    std::move(holes_->marks.begin() + 1, holes_->marks.end(), holes_->marks.begin());
    --holes_->mark_count;
  }
}

void Sequence::forgive() noexcept {
  if (!holes_) return;
  holes_->counted = highest_;
  holes_->mark_count = 0;
}

uint64_t Sequence::settle_at_ns() const noexcept {
  return holes_ && holes_->mark_count > 0 ? holes_->marks[0].since_ns + kMarkNs + kGapAfterNs : 0;
}

bool Sequence::is_open_below(uint64_t seq) const noexcept {
  if (!holes_ || holes_->mark_count == 0) return false;
  for (uint64_t n = std::max(holes_->counted + 1, highest_ >= kWindow ? highest_ - kWindow + 1 : 1);
       n < seq && n < highest_; ++n) {
    if (holes_->missing.test(n % kWindow)) return true;
  }
  return false;
}

std::string Sequence::save_holes() const {
  if (!holes_) return {};
  std::string bytes(kWindow / 8, '\0');
  for (size_t i = 0; i < kWindow; ++i) {
    if (holes_->missing.test(i)) bytes[i / 8] = static_cast<char>(bytes[i / 8] | 1 << (i % 8));
  }
  return bytes;
}

bool Sequence::load(uint64_t first, uint64_t highest, uint64_t counted, uint64_t gaps,
                    std::string_view holes, uint64_t now_ns) {
  if (first == 0 || first > highest || counted > highest) return false;
  if (!holes.empty() && holes.size() != kWindow / 8) return false;
  first_ = first;
  highest_ = highest;
  gaps_ = gaps;
  holes_.reset();
  if (holes.empty()) return true;
  Holes& open = this->holes();
  for (size_t i = 0; i < kWindow; ++i) {
    const bool is_set = (static_cast<unsigned char>(holes[i / 8]) >> (i % 8) & 1) != 0;
    // Number 0 and the newest one are never missing.
    const uint64_t number = highest - (highest - i) % kWindow;
    if (!is_set || number == 0 || number == highest || number > highest) continue;
    open.missing.set(i);
    ++open.count;
  }
  open.counted = counted;
  open.marks[0] = {highest - 1, now_ns};
  open.mark_count = 1;
  if (open.count == 0) holes_.reset();
  return true;
}

}  // namespace insight
