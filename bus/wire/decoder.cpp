// SPDX-License-Identifier: Apache-2.0
#include "bus/wire/decoder.hpp"

#include <algorithm>

#include "bus/base/text.hpp"
#include "bus/wire/limits.hpp"
#include "bus/wire/record_decoder.hpp"
#include "bus/wire/tape.hpp"

namespace insight::wire {
namespace {

using Type = Token::Type;

// The value of the first `v` among the keys of the outer map that were read before a fault.
const Token* find_version(const std::vector<Token>& tape) {
  if (tape.empty() || !tape[0].is(Type::map)) return nullptr;
  const Token* const end = tape.data() + tape.size();
  const auto is_complete = [end](const Token* token) {
    return token < end && !(token->is_container() && token->extent == 0);
  };
  const Token* key = tape[0].first();
  for (uint32_t i = 0; i < tape[0].size && is_complete(key); ++i) {
    const Token* value = key->next();
    if (!is_complete(value)) return nullptr;
    if (key->is(Type::str) && key->text() == "v") return value;
    key = value->next();
  }
  return nullptr;
}

bool to_positive(const Token& token, uint64_t& value) { return to_uint(token, value) && value > 0; }

}  // namespace

struct Decoder::Impl {
  std::vector<Token> tape;
  RecordDecoder records;
  std::vector<std::pair<std::string_view, uint64_t>> accounts;
  std::vector<std::array<unsigned char, 16>> via;
  EnvelopeView view;

  // Null, or what makes the envelope malformed.
  const char* read(uint64_t wall_now_ns);
  const char* read_key(std::string_view key, const Token& value);
  const char* read_accounts(const Token& value);
  const char* read_via(const Token& value);
  const char* read_clock(const Token& value);
  const char* read_life(const Token& value);
};

Decoder::Decoder() : impl_(std::make_unique<Impl>()) {}

Decoder::~Decoder() = default;

Result<const EnvelopeView*, Refusal> Decoder::decode(std::string_view message,
                                                     uint64_t wall_now_ns) {
  if (message.size() > kMaxEnvelopeBytes) {
    return Refusal{Reason::too_large, "the message is larger than an envelope may be"};
  }
  // Whoever sends another version may use shapes that this one does not know: `v` decides first.
  const bool is_whole = read_tape(message, impl_->tape);
  const Token* version = find_version(impl_->tape);
  if (version == nullptr) return Refusal{Reason::foreign, "not a msgpack map with the key v"};
  uint64_t number = 0;
  if (!to_uint(*version, number) || number != kVersion) {
    return Refusal{Reason::version, "another version than 1"};
  }
  if (!is_whole) {
    return Refusal{Reason::malformed, "cut off, followed by more, too deep or not msgpack"};
  }
  if (const char* error = impl_->read(wall_now_ns)) return Refusal{Reason::malformed, error};
  return &impl_->view;
}

const char* Decoder::Impl::read(uint64_t wall_now_ns) {
  const Token& map = tape[0];
  if (const char* error = check_keys(map, kMaxKeys)) return error;
  view = {};
  view.every_ms = kDefaultEveryMs;
  records.start(tape.size(), wall_now_ns);
  accounts.clear();
  via.clear();

  const Token* key = map.first();
  for (uint32_t i = 0; i < map.size; ++i) {
    const Token* value = key->next();
    if (!is_utf8(key->text())) return "a key is not UTF-8";
    if (const char* error = read_key(key->text(), *value)) return error;
    key = value->next();
  }
  // None of them is zero when it is there.
  if (view.inc.is_zero()) return "inc is missing";
  if (view.seq == 0) return "seq is missing";
  if (view.t0_ns == 0) return "t0 is missing";
  if (view.sent_ns == 0) return "sent is missing";
  if (view.resource.data() == nullptr) return "res is missing";
  if (view.has_metrics && view.has_spans) return "met and spn are in one envelope";

  view.families = records.families;
  view.points = records.points;
  view.spans = records.span_views;
  view.accounts = accounts;
  view.via = via;
  return nullptr;
}

const char* Decoder::Impl::read_key(std::string_view key, const Token& value) {
  if (key == "inc") {
    return to_bytes(value, view.inc.bytes.data(), 16) && !view.inc.is_zero()
               ? nullptr
               : "inc is not 16 bytes, or all zero";
  }
  if (key == "seq") return to_positive(value, view.seq) ? nullptr : "seq is no integer above 0";
  if (key == "t0") return to_positive(value, view.t0_ns) ? nullptr : "t0 is no time above 0";
  if (key == "sent") return to_positive(value, view.sent_ns) ? nullptr : "sent is no time above 0";
  if (key == "res") {
    if (!value.is(Type::bin)) return "res is no bin";
    if (value.size > kMaxResourceBytes) return "res is too large";
    view.resource = value.text();
    return nullptr;
  }
  if (key == "mono") return to_uint(value, view.mono_ns.emplace()) ? nullptr : "mono is no time";
  if (key == "boot") {
    return to_bytes(value, view.boot.emplace().data(), 16) ? nullptr : "boot is not 16 bytes";
  }
  if (key == "clk") return read_clock(value);
  if (key == "old") return to_uint(value, view.oldest_ns) ? nullptr : "old is no time";
  if (key == "every") {
    if (!to_uint(value, view.every_ms)) return "every is no duration";
    view.every_ms = std::clamp(view.every_ms, kMinEveryMs, kMaxEveryMs);
    return nullptr;
  }
  if (key == "life") return read_life(value);
  if (key == "acc") return read_accounts(value);
  if (key == "via") return read_via(value);
  if (key == "met") {
    view.has_metrics = true;
    return records.metrics(value);
  }
  if (key == "spn") {
    view.has_spans = true;
    return records.spans(value);
  }
  return nullptr;
}

const char* Decoder::Impl::read_clock(const Token& value) {
  if (!value.is(Type::array) || value.size < 2) return "clk is no pair";
  auto& [offset, error] = view.clock.emplace();
  const Token* first = value.first();
  return to_int(*first, offset) && to_uint(*first->next(), error) ? nullptr : "clk has no integers";
}

const char* Decoder::Impl::read_life(const Token& value) {
  const std::string_view text = value.is(Type::str) ? value.text() : std::string_view();
  if (text == "hello") {
    view.life = LifeEvent::hello;
  } else if (text == "beat") {
    view.life = LifeEvent::beat;
  } else if (text == "bye") {
    view.life = LifeEvent::bye;
  } else {
    return "life is none of hello, beat, bye";
  }
  return nullptr;
}

const char* Decoder::Impl::read_accounts(const Token& value) {
  if (!value.is(Type::map)) return "acc is no map";
  if (const char* error = check_keys(value, kMaxAccounts)) return error;
  const Token* key = value.first();
  for (uint32_t i = 0; i < value.size; ++i) {
    if (!is_utf8(key->text())) return "a key of acc is not UTF-8";
    uint64_t count = 0;
    if (!to_uint(*key->next(), count)) return "a value of acc is no count";
    accounts.emplace_back(key->text(), count);
    key = key->next()->next();
  }
  return nullptr;
}

const char* Decoder::Impl::read_via(const Token& value) {
  if (!value.is(Type::array)) return "via is no array";
  if (value.size > kMaxRelays) return "via has too many relays";
  const Token* element = value.first();
  for (uint32_t i = 0; i < value.size; ++i, element = element->next()) {
    if (!to_bytes(*element, via.emplace_back().data(), 16)) return "a relay is not 16 bytes";
  }
  return nullptr;
}

}  // namespace insight::wire
