// SPDX-License-Identifier: Apache-2.0
#include "tests/examples/engine/kv_cache.hpp"

#include <algorithm>
#include <utility>

namespace engine {

Sequence::Sequence(Sequence&& other) noexcept
    : cache_(other.cache_),
      blocks_(std::exchange(other.blocks_, {})),
      text_(std::move(other.text_)),
      entries_(std::move(other.entries_)),
      reused_(other.reused_) {}

Sequence& Sequence::operator=(Sequence&& other) noexcept {
  std::swap(cache_, other.cache_);
  std::swap(blocks_, other.blocks_);
  std::swap(text_, other.text_);
  std::swap(entries_, other.entries_);
  std::swap(reused_, other.reused_);
  return *this;
}

Sequence::~Sequence() {
  // The last one first: a block is of no use without those before it, so it shall be the first to
  // go.
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) cache_->release(*block);
}

void Sequence::append(char token, const Model& model) {
  text_ += token;
  entries_.push_back(model.entry(text_));
  if (text_.size() % KvCache::kBlockTokens == 0) {
    cache_->complete(blocks_[text_.size() / KvCache::kBlockTokens - 1], *this);
  }
}

KvCache::KvCache(size_t blocks) : blocks_(std::max<size_t>(blocks, 1)) {
  for (size_t i = 0; i < blocks_.size(); ++i) free_.push_back(i);
}

std::optional<Sequence> KvCache::reserve(std::string_view prompt, size_t max_tokens) {
  std::vector<size_t> held;
  for (size_t end = kBlockTokens; end <= prompt.size(); end += kBlockTokens) {
    const auto cached = by_prefix_.find(std::string(prompt.substr(0, end)));
    if (cached == by_prefix_.end()) break;
    held.push_back(cached->second);
    hold(cached->second);
  }
  Sequence sequence(*this, std::move(held));
  const size_t further = blocks_for(prompt.size() + max_tokens) - sequence.blocks_.size();
  if (further > free_.size()) return std::nullopt;  // the sequence gives back what it held
  for (size_t block : sequence.blocks_) {
    const auto& entries = blocks_[block].entries;
    sequence.entries_.insert(sequence.entries_.end(), entries.begin(), entries.end());
  }
  sequence.reused_ = sequence.entries_.size();
  sequence.text_ = prompt.substr(0, sequence.reused_);
  for (size_t i = 0; i < further; ++i) sequence.blocks_.push_back(take_free());
  return sequence;
}

void KvCache::hold(size_t block) {
  if (blocks_[block].users++ == 0) free_.remove(block);
}

void KvCache::release(size_t block) {
  if (--blocks_[block].users == 0) {
    // One that holds nothing to be found again goes first.
    free_.insert(blocks_[block].prefix.empty() ? free_.begin() : free_.end(), block);
  }
}

size_t KvCache::take_free() {
  const size_t block = free_.front();
  free_.pop_front();
  by_prefix_.erase(blocks_[block].prefix);
  blocks_[block] = {.users = 1};
  return block;
}

void KvCache::complete(size_t block, const Sequence& sequence) {
  std::string prefix(sequence.text());
  if (!by_prefix_.emplace(prefix, block).second) return;  // another one has it
  const auto entries = sequence.entries().last(kBlockTokens);
  blocks_[block].entries.assign(entries.begin(), entries.end());
  blocks_[block].prefix = std::move(prefix);
}

}  // namespace engine
