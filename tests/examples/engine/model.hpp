// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

/// A small language model over bytes: an interpolated n-gram model (Witten-Bell) that was trained
/// on a text, and attention to what the request itself said before.
namespace engine {

/// A token is a byte; this one ends a paragraph, in the training text and in an answer.
inline constexpr char kEndOfText = '\0';

using Distribution = std::array<double, 256>;

/// What is kept of one token of a request, so that later tokens can look back at it.  Value.
struct CacheEntry {
  uint32_t key = 0;     ///< the four tokens before it
  char token = 0;       ///< what followed them
  double surprise = 0;  ///< in bits: what the trained model knew anyway is not worth a look
};

/// Thread-safe after construction: nothing changes.
class Model {
 public:
  /// Learns from `text`, in which paragraphs end by kEndOfText.  `order` 1 is a unigram model; one
  /// of less than 5 pays no attention.
  explicit Model(std::string_view text, size_t order = kMaxOrder);

  /// The entry of the last token of `text`, which may depend on all tokens before it.
  CacheEntry entry(std::string_view text) const;

  /// How likely each token is to follow `text`, whose entries are `cache`.
  Distribution next(std::string_view text, std::span<const CacheEntry> cache) const;

  /// How many tokens the model would have to choose from blindly to do as badly as it does on
  /// `text`.
  double perplexity(std::string_view text) const;

  static constexpr size_t kMaxOrder = 7;

 private:
  /// What followed one context.
  struct Followers {
    double total = 0;
    std::vector<std::pair<unsigned char, double>> counts;
  };

  Distribution trained(std::string_view text) const;

  // Constant after construction.
  size_t order_;
  std::unordered_map<uint64_t, Followers> contexts_;
};

/// Draws one token.
char sample(const Distribution& distribution, std::mt19937_64& random);

/// A text in paragraphs, each tenth of them held out.
struct Corpus {
  std::string training;
  std::vector<std::string> held_out;
};

/// Throws std::runtime_error when a file cannot be read or holds too little.
Corpus read_corpus(std::span<const std::string> files);

}  // namespace engine
