// SPDX-License-Identifier: Apache-2.0
#include "tests/examples/engine/model.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace engine {

namespace {

constexpr size_t kKeyTokens = 4;
/// How much the trained model counts against what the request said before.
constexpr double kTrainedWeight = 6;

/// The last `n` tokens as one number; with `n` itself, so that contexts of different lengths
/// differ.
uint64_t packed_tail(std::string_view text, size_t n) {
  uint64_t packed = n;
  for (char c : text.substr(text.size() - n)) packed = packed << 8 | static_cast<unsigned char>(c);
  return packed;
}

size_t index_of(char token) { return static_cast<unsigned char>(token); }

}  // namespace

Model::Model(std::string_view text, size_t order)
    : order_(std::clamp<size_t>(order, 1, kMaxOrder)) {
  for (size_t i = 0; i < text.size(); ++i) {
    for (size_t length = 0; length < order_ && length <= i; ++length) {
      Followers& followers = contexts_[packed_tail(text.substr(0, i), length)];
      const auto token = static_cast<unsigned char>(text[i]);
      const auto known =
          std::ranges::find(followers.counts, token, &std::pair<unsigned char, double>::first);
      if (known == followers.counts.end()) {
        followers.counts.emplace_back(token, 1);
      } else {
        ++known->second;
      }
      ++followers.total;
    }
  }
}

Distribution Model::trained(std::string_view text) const {
  Distribution p;
  p.fill(1.0 / static_cast<double>(p.size()));
  for (size_t length = 0; length < order_ && length <= text.size(); ++length) {
    const auto found = contexts_.find(packed_tail(text, length));
    if (found == contexts_.end()) break;  // then no longer context was seen either
    // Witten-Bell: the more different tokens followed this context, the more the shorter one is
    // trusted.
    const auto& [total, counts] = found->second;
    const auto kinds = static_cast<double>(counts.size());
    for (double& each : p) each *= kinds / (total + kinds);
    for (const auto& [token, count] : counts) p[token] += count / (total + kinds);
  }
  return p;
}

CacheEntry Model::entry(std::string_view text) const {
  const std::string_view before = text.substr(0, text.size() - 1);
  const uint64_t key = packed_tail(before, std::min(before.size(), kKeyTokens));
  const double p = trained(before)[index_of(text.back())];
  return {.key = static_cast<uint32_t>(key), .token = text.back(), .surprise = -std::log2(p)};
}

Distribution Model::next(std::string_view text, std::span<const CacheEntry> cache) const {
  Distribution p = trained(text);
  if (order_ <= kKeyTokens || text.size() < kKeyTokens) return p;
  const auto query = static_cast<uint32_t>(packed_tail(text, kKeyTokens));
  Distribution seen{};
  double weight = 0;
  for (const CacheEntry& each : cache) {
    if (each.key != query) continue;
    seen[index_of(each.token)] += each.surprise;
    weight += each.surprise;
  }
  for (size_t i = 0; i < p.size(); ++i)
    p[i] = (kTrainedWeight * p[i] + seen[i]) / (kTrainedWeight + weight);
  return p;
}

double Model::perplexity(std::string_view text) const {
  double bits = 0;
  std::vector<CacheEntry> cache;
  for (size_t i = 0; i < text.size(); ++i) {
    bits -= std::log2(next(text.substr(0, i), cache)[index_of(text[i])]);
    cache.push_back(entry(text.substr(0, i + 1)));
  }
  return std::exp2(bits / static_cast<double>(std::max<size_t>(text.size(), 1)));
}

char sample(const Distribution& distribution, std::mt19937_64& random) {
  double left = std::uniform_real_distribution<double>(0, 1)(random);
  size_t token = 0;
  while (token + 1 < distribution.size() && (left -= distribution[token]) > 0) ++token;
  return static_cast<char>(token);
}

Corpus read_corpus(std::span<const std::string> files) {
  Corpus corpus;
  size_t paragraphs = 0;
  for (const std::string& file : files) {
    std::ifstream in(file);
    std::string text(std::istreambuf_iterator<char>(in), {});
    if (!in) throw std::runtime_error(file + ": cannot be read");
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find("\n\n", begin), text.size());
      const std::string paragraph = text.substr(begin, end - begin) + kEndOfText;
      begin = std::min(text.find_first_not_of('\n', end), text.size());
      if (++paragraphs % 10 == 0) {
        corpus.held_out.push_back(paragraph);
      } else {
        corpus.training += paragraph;
      }
    }
  }
  if (corpus.held_out.empty()) throw std::runtime_error("fewer than 10 paragraphs to learn from");
  return corpus;
}

}  // namespace engine
