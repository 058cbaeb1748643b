// SPDX-License-Identifier: Apache-2.0
#include "tests/examples/engine/kv_cache.hpp"

#include <random>

#include <doctest/doctest.h>

namespace {

using namespace engine;

const Model& model() {
  static const Model kModel("the quick brown fox jumps over the lazy dog");
  return kModel;
}

void prefill(Sequence& sequence, std::string_view prompt) {
  while (sequence.text().size() < prompt.size())
    sequence.append(prompt[sequence.text().size()], model());
}

const std::string kPrompt(40, 'x');  // two whole blocks and a half

}  // namespace

TEST_CASE("a prompt that was seen before is found, whole blocks of it") {
  KvCache cache(8);
  {
    auto first = cache.reserve(kPrompt, 8);
    REQUIRE(first);
    CHECK(first->reused() == 0);
    prefill(*first, kPrompt);
    CHECK(cache.usage() == doctest::Approx(3.0 / 8));
  }
  CHECK(cache.usage() == 0);

  auto same = cache.reserve(kPrompt, 8);
  REQUIRE(same);
  CHECK(same->reused() == 32);
  auto other = cache.reserve(kPrompt.substr(0, 16) + std::string(24, 'y'), 8);
  REQUIRE(other);
  CHECK(other->reused() == 16);
  CHECK(cache.usage() == doctest::Approx(5.0 / 8));  // 3, and 2 beside the shared one
}

TEST_CASE("nothing is reserved beyond the size of the cache, and a refusal holds nothing") {
  KvCache cache(4);
  CHECK(cache.could_hold(64));
  CHECK_FALSE(cache.could_hold(65));

  {
    auto first = cache.reserve(kPrompt, 8);
    REQUIRE(first);
    CHECK_FALSE(cache.reserve(std::string(20, 'y'), 0));
    CHECK(cache.usage() == doctest::Approx(3.0 / 4));
  }
  CHECK(cache.usage() == 0);
  CHECK(cache.reserve(std::string(20, 'y'), 0));
}

TEST_CASE("room is made by forgetting what nobody uses, the oldest first") {
  KvCache cache(3);
  const auto use = [&](char c) {
    const std::string prompt(16, c);
    auto sequence = cache.reserve(prompt, 0);
    REQUIRE(sequence);
    prefill(*sequence, prompt);
    return sequence->reused();
  };
  CHECK(use('a') == 0);
  CHECK(use('b') == 0);
  CHECK(use('c') == 0);
  CHECK(use('a') == 16);

  CHECK(use('d') == 0);  // in the place of b
  CHECK(use('a') == 16);
  CHECK(use('c') == 16);
  CHECK(use('b') == 0);
}

TEST_CASE("what is found again is what would have been computed") {
  KvCache cache(64);
  std::mt19937_64 random(7);
  for (int turn = 0; turn < 200; ++turn) {
    std::string prompt(random() % 80, 'x');
    for (char& c : prompt) c = random() % 4 == 0 ? 'y' : 'x';
    auto sequence = cache.reserve(prompt, 16);
    REQUIRE(sequence);
    prefill(*sequence, prompt);

    REQUIRE(sequence->text() == prompt);
    REQUIRE(sequence->entries().size() == prompt.size());
    for (size_t i = 0; i < prompt.size(); ++i) {
      const CacheEntry fresh = model().entry(std::string_view(prompt).substr(0, i + 1));
      REQUIRE(sequence->entries()[i].key == fresh.key);
      REQUIRE(sequence->entries()[i].token == fresh.token);
      REQUIRE(sequence->entries()[i].surprise == fresh.surprise);
    }
  }
  CHECK(cache.usage() == 0);
}
