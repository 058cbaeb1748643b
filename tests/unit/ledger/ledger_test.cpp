// SPDX-License-Identifier: Apache-2.0
#include "bus/ledger/ledger.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/ledger/envelopes.hpp"

namespace insight {
namespace {

using Verdict = Ledger::Verdict;
using wire::LifeEvent;

struct Book {
  explicit Book(LedgerOptions options = {}) : ledger(options, ids) {}

  Verdict receive(const TestEnvelope& envelope, double second) {
    walk_to(second);
    return ledger.receive(envelope.view, at_second(second)).verdict;
  }

  /// Steps each second, as a collector does.
  void walk_to(double second) {
    for (; clock + 1 <= second; clock += 1) ledger.step(at_second(clock + 1));
  }

  PublisherView view(uint64_t publisher) const {
    for (auto& view : ledger.publishers()) {
      if (view.incarnation->id == test_id(publisher)) return view;
    }
    return {};
  }

  Life life(uint64_t publisher) const { return view(publisher).life; }

  bool knows(uint64_t publisher) const { return view(publisher).incarnation != nullptr; }

  std::shared_ptr<SeriesIds> ids = std::make_shared<SeriesIds>();
  Ledger ledger;
  double clock = 0;
};

TEST_CASE("of many publishers those are told that live, and of each state the ones heard last") {
  Book book;
  for (uint64_t i = 1; i <= 20; ++i) book.receive(TestEnvelope(i, 1), static_cast<double>(i) / 10);
  for (const uint64_t ended : {19, 20}) {
    book.receive(TestEnvelope(ended, 2).life(LifeEvent::bye), 2.5);
  }

  std::set<IncarnationId> told;
  for (const PublisherView& view : book.ledger.publishers(3)) told.insert(view.incarnation->id);

  CHECK(told == std::set<IncarnationId>{test_id(16), test_id(17), test_id(18)});
  CHECK(book.ledger.publishers(0).empty());
  CHECK(book.ledger.publishers(100).size() == 20);
}

TEST_CASE("a publisher is late after one and a half beats of silence and lost after three") {
  Book book;
  book.receive(TestEnvelope(1, 1).every_ms(2'000), 0);
  CHECK(book.life(1) == Life::alive);

  book.walk_to(2);
  CHECK(book.life(1) == Life::alive);
  book.walk_to(3);
  CHECK(book.life(1) == Life::late);
  book.walk_to(5);
  CHECK(book.life(1) == Life::late);
  book.walk_to(6);
  CHECK(book.life(1) == Life::lost);
  CHECK(book.ledger.lives() == std::array<uint64_t, 4>{0, 0, 1, 0});
}

TEST_CASE("without a promise a beat is expected every ten seconds") {
  Book book;
  book.receive(TestEnvelope(1, 1), 0);

  book.walk_to(14);
  CHECK(book.life(1) == Life::alive);
  book.walk_to(29);
  CHECK(book.life(1) == Life::late);
  book.walk_to(30);
  CHECK(book.life(1) == Life::lost);
}

TEST_CASE("any envelope is a sign of life, also from one that was lost") {
  Book book;
  for (uint64_t seq = 1; seq < 20; ++seq) {
    book.receive(TestEnvelope(1, seq).every_ms(2'000), 2.5 * static_cast<double>(seq));
    CHECK(book.life(1) == Life::alive);
  }
  book.walk_to(100);
  REQUIRE(book.life(1) == Life::lost);

  book.receive(TestEnvelope(1, 20), 101);

  CHECK(book.life(1) == Life::alive);
}

TEST_CASE("a promise of a beat a year away is not believed") {
  Book book;
  book.receive(TestEnvelope(1, 1).every_ms(UINT64_MAX), 0);

  book.walk_to(3 * 3'600 + 1);

  CHECK(book.life(1) == Life::lost);
}

TEST_CASE("after bye an older envelope changes nothing and a newer one brings the publisher back") {
  Book book;
  book.receive(TestEnvelope(1, 1), 0);
  book.receive(TestEnvelope(1, 4).life(LifeEvent::bye), 1);
  REQUIRE(book.life(1) == Life::ended);

  CHECK(book.receive(TestEnvelope(1, 3), 2) == Verdict::late);
  CHECK(book.life(1) == Life::ended);
  CHECK(book.receive(TestEnvelope(1, 4).life(LifeEvent::bye), 2) == Verdict::duplicate);
  CHECK(book.life(1) == Life::ended);
  CHECK(book.receive(TestEnvelope(1, 5), 3) == Verdict::fresh);
  CHECK(book.life(1) == Life::alive);
}

TEST_CASE("a bye that arrives after newer envelopes ends nothing") {
  Book book;
  book.receive(TestEnvelope(1, 1), 0);
  book.receive(TestEnvelope(1, 3), 0);

  CHECK(book.receive(TestEnvelope(1, 2).life(LifeEvent::bye), 1) == Verdict::late);

  CHECK(book.life(1) == Life::alive);
}

TEST_CASE("an ended publisher is never late or lost and is forgotten after an hour") {
  Book book;
  book.receive(TestEnvelope(1, 1).life(LifeEvent::bye), 0);

  book.walk_to(3'599);
  CHECK(book.life(1) == Life::ended);
  book.walk_to(3'601);

  CHECK_FALSE(book.knows(1));
  CHECK(book.ledger.lives() == std::array<uint64_t, 4>{});
}

TEST_CASE("the silence of a broker that was stopped makes nobody lost") {
  Book book;
  book.receive(TestEnvelope(1, 1).every_ms(1'000), 0);

  book.ledger.step(at_second(600));

  CHECK(book.life(1) == Life::alive);
  book.ledger.step(at_second(601));
  book.ledger.step(at_second(603));
  CHECK(book.life(1) == Life::lost);
}

TEST_CASE("gaps, late and repeated envelopes are counted for each publisher and in all") {
  Book book;
  book.receive(TestEnvelope(1, 1), 0);
  book.receive(TestEnvelope(1, 5), 0);
  CHECK(book.receive(TestEnvelope(1, 3), 1) == Verdict::late);
  CHECK(book.receive(TestEnvelope(1, 3), 1) == Verdict::duplicate);
  book.receive(TestEnvelope(2, 1), 1);
  book.receive(TestEnvelope(2, 3), 1);

  book.walk_to(10);

  CHECK(book.view(1).gaps == 2);
  CHECK(book.view(1).late == 1);
  CHECK(book.view(1).duplicates == 1);
  CHECK(book.view(1).envelopes == 3);
  CHECK(book.view(1).highest_seq == 5);
  CHECK(book.ledger.totals().gaps == 3);
}

TEST_CASE("the first resource stays and other bytes are counted") {
  Book book;
  book.receive(TestEnvelope(1, 1, "first"), 0);
  book.receive(TestEnvelope(1, 2, "second"), 0);

  CHECK(book.ledger.totals().resources_changed == 1);
  CHECK(to_text(*book.view(1).incarnation->resource.find("service.name")) == "first");
}

TEST_CASE("an envelope with a bad resource is malformed and leaves nothing behind") {
  Book book;
  TestEnvelope envelope(1, 1);
  envelope.view.resource = "\xc1";

  CHECK(book.receive(envelope, 0) == Verdict::malformed);

  CHECK_FALSE(book.knows(1));
}

TEST_CASE("lost spans are what was sent and not received, exactly at bye") {
  Book book;
  book.receive(TestEnvelope(1, 1).spans(10).account("spans_sent", 10), 0);
  book.receive(TestEnvelope(1, 3).spans(10).account("spans_sent", 35), 1);
  book.receive(TestEnvelope(1, 4).spans(5).account("spans_sent", 40).life(LifeEvent::bye), 2);
  CHECK(book.view(1).spans_lost == 15);

  book.walk_to(10);

  CHECK(book.view(1).spans_lost == 15);
  CHECK(book.ledger.totals().spans_lost == 15);
}

TEST_CASE("spans of a late envelope are not lost") {
  Book book;
  book.receive(TestEnvelope(1, 1).spans(10).account("spans_sent", 10), 0);
  book.receive(TestEnvelope(1, 3).spans(10).account("spans_sent", 35), 1);
  book.receive(TestEnvelope(1, 2).spans(15).account("spans_sent", 25), 2);

  book.walk_to(10);

  CHECK(book.view(1).spans_lost == 0);
  CHECK(book.ledger.totals().spans_lost == 0);
}

TEST_CASE("spans that were sent before this broker knew the publisher are not lost") {
  Book book;
  book.receive(TestEnvelope(1, 100).spans(10).account("spans_sent", 5'010), 0);
  book.receive(TestEnvelope(1, 102).spans(10).account("spans_sent", 5'023), 1);

  book.walk_to(10);

  CHECK(book.view(1).spans_lost == 3);
  CHECK(book.view(1).gaps == 1);
}

TEST_CASE("lost spans and gaps are exact for any order, loss and repetition") {
  std::mt19937_64 random(4'711);
  const auto below = [&](uint64_t n) { return random() % n; };
  uint64_t all_lost = 0, all_gaps = 0;
  Book book;
  for (uint64_t publisher = 1; publisher <= 1'000; ++publisher) {
    struct Sent {
      uint64_t seq = 0;
      uint64_t spans = 0;
      uint64_t sent_before = 0;
    };

    std::vector<Sent> arriving;
    uint64_t sent = 0, lost = 0, gaps = 0;
    const uint64_t length = 2 + below(40), loss = below(40);
    for (uint64_t seq = 1; seq <= length; ++seq) {
      const uint64_t spans = below(20);
      sent += spans;
      // The first comes, so that all after it is known; the last is the bye.
      if (seq > 1 && seq < length && below(100) < loss) {
        lost += spans;
        ++gaps;
        continue;
      }
      arriving.push_back({seq, spans, sent});
      if (below(10) == 0) arriving.push_back(arriving.back());
    }
    for (size_t i = 1; i + 1 < arriving.size(); ++i) {
      std::swap(arriving[i], arriving[i + below(std::min<size_t>(6, arriving.size() - i))]);
    }
    for (const Sent& one : arriving) {
      TestEnvelope envelope(publisher, one.seq);
      envelope.spans(one.spans).account("spans_sent", one.sent_before);
      if (one.seq == length) envelope.life(LifeEvent::bye);
      book.receive(envelope, 0);
    }
    CHECK(book.view(publisher).spans_lost == lost);
    all_lost += lost;
    all_gaps += gaps;
  }

  book.walk_to(10);

  CHECK(book.ledger.totals().spans_lost == all_lost);
  CHECK(book.ledger.totals().gaps == all_gaps);
}

TEST_CASE("drops at publishers are summed over all that ever were and never fall") {
  Book book;
  book.receive(TestEnvelope(1, 1).account("drop.ring_full", 5).account("spans", 7), 0);
  book.receive(TestEnvelope(1, 2).account("drop.ring_full", 8), 0);
  book.receive(TestEnvelope(2, 1).account("drop.ring_full", 1).account("drop.limit", 2), 0);
  CHECK(book.view(1).accounts.at("drop.ring_full") == 8);
  CHECK(book.view(1).accounts.at("spans") == 7);

  book.receive(TestEnvelope(1, 3).account("drop.ring_full", 3), 0);
  book.walk_to(2 * 3'600);
  REQUIRE(book.ledger.publishers().empty());

  CHECK(book.ledger.totals().dropped_at_publishers ==
        std::map<std::string, uint64_t>{{"limit", 2}, {"ring_full", 9}});
}

TEST_CASE("names of drop reasons that never end are summed up as other") {
  Book book;
  std::vector<std::string> names;
  for (uint64_t n = 0; n < 1'000; ++n) names.push_back("drop.reason" + std::to_string(n));

  for (uint64_t n = 0; n < 1'000; ++n) {
    book.receive(TestEnvelope(n + 1, 1).account(names[n], 1), 0);
  }

  const auto& sums = book.ledger.totals().dropped_at_publishers;
  CHECK(sums.size() == 65);
  CHECK(sums.at("other") == 936);
}

TEST_CASE("a full ledger forgets who is gone, the longest gone first, but never who lives") {
  Book book({.incarnations = 3});
  book.receive(TestEnvelope(1, 1), 0);
  book.receive(TestEnvelope(2, 1).life(LifeEvent::bye), 1);
  book.receive(TestEnvelope(3, 1).life(LifeEvent::bye), 2);

  CHECK(book.receive(TestEnvelope(4, 1), 3) == Verdict::fresh);
  CHECK_FALSE(book.knows(2));
  CHECK(book.knows(3));
  CHECK(book.receive(TestEnvelope(5, 1), 3) == Verdict::fresh);
  CHECK_FALSE(book.knows(3));
  CHECK(book.receive(TestEnvelope(6, 1), 3) == Verdict::full);
  CHECK(book.knows(1));
}

TEST_CASE("a flood of incarnations with large resources is bounded in bytes") {
  Book book({.bytes = 100'000});
  const std::string large(3'000, 'x');
  size_t taken = 0;

  for (uint64_t n = 1; n <= 1'000; ++n) {
    taken += book.receive(TestEnvelope(n, 1, large), 0) == Verdict::fresh ? 1 : 0;
  }

  CHECK(taken > 5);
  CHECK(taken < 20);
}

TEST_CASE("ten thousand incarnations that come and go are forgotten without a trace") {
  Book book({.forget_ended_after_ns = 60 * kSecond});

  for (uint64_t n = 1; n <= 10'000; ++n) {
    const double second = static_cast<double>(n) / 100;
    book.receive(TestEnvelope(n, 1), second);
    if (n % 2 == 0) book.receive(TestEnvelope(n, 2).life(LifeEvent::bye), second);
  }
  CHECK(book.ledger.publishers().size() < 9'000);
  book.walk_to(1'000);

  CHECK(book.ledger.publishers().empty());
  CHECK(book.ids->in_use() == 0);
}

TEST_CASE("a ledger that is saved and loaded goes on as before") {
  Book before;
  before.receive(TestEnvelope(1, 1).spans(3).account("spans_sent", 3).every_ms(2'000), 0);
  before.receive(TestEnvelope(1, 4).spans(2).account("spans_sent", 9).account("drop.x", 4), 0);
  before.receive(TestEnvelope(2, 1, "other").life(LifeEvent::bye), 0);
  before.receive(TestEnvelope(3, 1).every_ms(100), 0);
  before.walk_to(2);
  REQUIRE(before.life(3) == Life::lost);

  Book after;
  const auto loaded = after.ledger.load(before.ledger.save(at_second(2), true), at_second(3));
  if (!loaded) MESSAGE(loaded.error().message);
  REQUIRE(loaded);
  after.clock = 3;

  CHECK(loaded.value() == 3);
  CHECK(after.life(1) == Life::late);
  CHECK(after.life(2) == Life::ended);
  CHECK(after.life(3) == Life::lost);
  CHECK(to_text(*after.view(2).incarnation->resource.find("service.name")) == "other");
  CHECK(after.view(1).envelopes == 2);
  CHECK(after.view(1).accounts.at("drop.x") == 4);
  CHECK(after.receive(TestEnvelope(1, 4), 3) == Verdict::duplicate);
  CHECK(after.life(1) == Life::alive);
  CHECK(after.receive(TestEnvelope(1, 3).spans(1), 3) == Verdict::late);
  after.receive(
      TestEnvelope(1, 5).account("spans_sent", 9).account("drop.x", 5).life(LifeEvent::bye), 4);
  after.walk_to(15);
  CHECK(after.view(1).gaps == 1);
  CHECK(after.view(1).spans_lost == 3);
  // The counters of this process begin at 0.
  CHECK(after.ledger.totals().dropped_at_publishers.at("x") == 1);
}

TEST_CASE("who is not heard within three beats after a restart is lost") {
  Book before;
  before.receive(TestEnvelope(1, 1).every_ms(2'000), 0);
  Book after;
  REQUIRE(after.ledger.load(before.ledger.save(at_second(0), true), at_second(500)));
  after.clock = 500;

  after.walk_to(505);
  CHECK(after.life(1) == Life::late);
  after.walk_to(507);

  CHECK(after.life(1) == Life::lost);
}

TEST_CASE("what a broker took between its last snapshot and its death is not counted as lost") {
  Book before;
  before.receive(TestEnvelope(1, 1).spans(10).account("spans_sent", 10), 0);
  Book after;
  REQUIRE(after.ledger.load(before.ledger.save(at_second(0), false), at_second(1)));
  after.clock = 1;

  after.receive(TestEnvelope(1, 50).spans(1).account("spans_sent", 400), 2);
  after.receive(TestEnvelope(1, 52).spans(1).account("spans_sent", 404), 2);
  after.walk_to(20);

  CHECK(after.view(1).gaps == 1);
  CHECK(after.view(1).spans_lost == 3);
}

TEST_CASE("a snapshot that is cut or changed anywhere is refused and leaves the ledger empty") {
  Book before;
  before.receive(TestEnvelope(1, 1).account("drop.x", 4), 0);
  before.receive(TestEnvelope(2, 7), 0);
  const std::string good = before.ledger.save(at_second(0), true);

  for (size_t at = 0; at < good.size(); ++at) {
    Book cut;
    CHECK_FALSE(cut.ledger.load(good.substr(0, at), at_second(0)));
    std::string changed = good;
    changed[at] = static_cast<char>(changed[at] ^ 0x15);
    Book other;
    CHECK_FALSE(other.ledger.load(changed, at_second(0)));
    CHECK(other.ledger.publishers().empty());
    CHECK(other.receive(TestEnvelope(1, 1), 0) == Verdict::fresh);
  }
}

}  // namespace
}  // namespace insight
