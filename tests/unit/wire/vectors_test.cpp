// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/wire/vectors.hpp"

#include <doctest/doctest.h>

using namespace insight;
using namespace insight::wire;

TEST_CASE("each vector gives what it says") {
  const std::vector<test::Vector> vectors = test::load_vectors();
  REQUIRE(vectors.size() >= 150);
  Decoder decoder;

  for (const test::Vector& vector : vectors) {
    const nlohmann::json found = test::observe(decoder, vector.message, vector.now);

    CHECK_MESSAGE(found == vector.expect,
                  vector.name << "\nfound    " << found.dump().substr(0, 2000) << "\nexpected "
                              << vector.expect.dump().substr(0, 2000));
  }
}

TEST_CASE("every refusal of a message says why") {
  Decoder decoder;

  for (const test::Vector& vector : test::load_vectors()) {
    const auto result = decoder.decode(vector.message, vector.now);

    if (!result) CHECK_MESSAGE(!result.error().detail.empty(), vector.name);
  }
}
