// SPDX-License-Identifier: Apache-2.0
#include "tests/examples/engine/model.hpp"

#include <algorithm>
#include <numeric>

#include <doctest/doctest.h>

namespace {

using namespace engine;

Corpus documents() {
  const std::string root = INSIGHT_SOURCE_ROOT;
  return read_corpus(std::vector{root + "/bus/wire/ENVELOPE.md", root + "/bus/README.md",
                                 root + "/publishers/README.md"});
}

double perplexity(const Model& model, const Corpus& corpus) {
  std::string all;
  for (const std::string& paragraph : corpus.held_out) all += paragraph;
  return model.perplexity(all);
}

}  // namespace

TEST_CASE("on text that it has not seen the model is far better than one that counts letters") {
  const Corpus corpus = documents();

  const double unigram = perplexity(Model(corpus.training, 1), corpus);
  const double trained = perplexity(Model(corpus.training), corpus);

  CHECK(unigram > 10);  // English needs about 4.5 bits a letter that way
  CHECK(trained < unigram / 2);
}

TEST_CASE("what may follow always adds up to 1, and everything may") {
  const Corpus corpus = documents();
  const Model model(corpus.training);
  std::string text;
  std::vector<CacheEntry> cache;

  for (const char c : std::string("the envelope, the envelope, \xff\x01 the env")) {
    text += c;
    cache.push_back(model.entry(text));
    const Distribution next = model.next(text, cache);
    CHECK(std::accumulate(next.begin(), next.end(), 0.0) == doctest::Approx(1));
    CHECK(*std::min_element(next.begin(), next.end()) > 0);
  }
}

TEST_CASE("what the request said before becomes more likely") {
  const Model model("one two three four five six seven eight nine ten");
  const std::string text = "zebra crossing, zebra cros";
  std::vector<CacheEntry> cache;
  for (size_t i = 1; i <= text.size(); ++i) cache.push_back(model.entry(text.substr(0, i)));

  CHECK(model.next(text, cache)['s'] > 2 * model.next(text, {})['s']);
}

TEST_CASE("tokens are drawn as often as they are likely") {
  Distribution distribution{};
  distribution['a'] = 0.25;
  distribution['b'] = 0.75;
  std::mt19937_64 random(1);

  int b = 0;
  for (int i = 0; i < 10'000; ++i) b += sample(distribution, random) == 'b' ? 1 : 0;

  CHECK(b > 7'300);
  CHECK(b < 7'700);
}

TEST_CASE("a corpus that cannot be read or learned from is refused") {
  CHECK_THROWS_WITH(read_corpus(std::vector<std::string>{"/nonexistent"}),
                    "/nonexistent: cannot be read");
  CHECK_THROWS_WITH(read_corpus(std::vector<std::string>{"/dev/null"}),
                    "fewer than 10 paragraphs to learn from");
}
