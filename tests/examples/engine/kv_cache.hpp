// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tests/examples/engine/model.hpp"

/// What running requests keep of their tokens, in blocks of fixed number and size.  Requests that
/// begin alike share their whole blocks, those of requests that are over included, until the room
/// is needed.
namespace engine {

class KvCache;

/// The tokens of one request and what is kept of them.  Moved, not copied; gives its blocks back.
class Sequence {
 public:
  Sequence(Sequence&& other) noexcept;
  Sequence& operator=(Sequence&& other) noexcept;
  ~Sequence();

  std::string_view text() const { return text_; }

  std::span<const CacheEntry> entries() const { return entries_; }

  /// How many tokens of the prompt were in the cache already.
  size_t reused() const { return reused_; }

  /// Adds a token and what is kept of it, within the room that was reserved.
  void append(char token, const Model& model);

 private:
  friend class KvCache;

  Sequence(KvCache& cache, std::vector<size_t> blocks)
      : cache_(&cache), blocks_(std::move(blocks)) {}

  KvCache* cache_;
  std::vector<size_t> blocks_;
  std::string text_;
  std::vector<CacheEntry> entries_;
  size_t reused_ = 0;
};

/// Thread-bound: the engine's thread.
class KvCache {
 public:
  static constexpr size_t kBlockTokens = 16;

  explicit KvCache(size_t blocks);

  /// A sequence that begins with as much of `prompt` as is cached, and room for `max_tokens` after
  /// the whole of it; nothing where there is no room now.
  std::optional<Sequence> reserve(std::string_view prompt, size_t max_tokens);

  /// Whether it would ever have room for so many tokens.
  bool could_hold(size_t tokens) const { return blocks_for(tokens) <= blocks_.size(); }

  /// The share of blocks that running requests hold, 0 to 1.
  double usage() const {
    return 1 - static_cast<double>(free_.size()) / static_cast<double>(blocks_.size());
  }

 private:
  friend class Sequence;

  struct Block {
    std::string prefix;  ///< all tokens up to its end; empty: it is not whole
    std::vector<CacheEntry> entries;
    size_t users = 0;
  };

  static size_t blocks_for(size_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

  void hold(size_t block);
  void release(size_t block);
  size_t take_free();
  void complete(size_t block, const Sequence& sequence);

  std::vector<Block> blocks_;
  std::list<size_t> free_;  ///< those without users, the least recently used first
  std::unordered_map<std::string, size_t> by_prefix_;
};

}  // namespace engine
