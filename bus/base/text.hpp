// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace insight {

/// True when `text` is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms).
bool is_utf8(std::string_view text) noexcept;

/// `text` with every byte that is not part of well-formed UTF-8 replaced by U+FFFD.
std::string to_utf8(std::string_view text);

/// Lower-case hexadecimal digits of `bytes`.
std::string to_hex(std::string_view bytes);

/// The candidate nearest to `word` when it is near enough to be what was meant, else empty.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

/// "a b" for "a%20b": a part of a URL's query.  What is no escape stays.
std::string percent_decoded(std::string_view text);

/// And back; of any bytes.
std::string percent_encoded(std::string_view text);

/// True when all of `text` is what `pattern` describes: '*' is any bytes, '?' any one byte.
bool matches_glob(std::string_view pattern, std::string_view text) noexcept;

/// A 64-bit hash of `bytes` under `key`.  With a random key nobody outside can construct
/// collisions.
uint64_t keyed_hash(std::string_view bytes, uint64_t key) noexcept;

/// Fills `out` from the kernel's random source.
void random_bytes(std::span<std::byte> out) noexcept;
/// A key for keyed_hash() that nobody outside knows.
uint64_t random_key() noexcept;

/// "64MiB" <-> 67108864, "1.5s" <-> 1500000000 ns.  Sizes know B, KiB, MiB, GiB; durations ns, us,
/// ms, s, m, h, d.
bool parse_size(std::string_view text, uint64_t& bytes) noexcept;
bool parse_duration(std::string_view text, uint64_t& nanoseconds) noexcept;
std::string format_size(uint64_t bytes);
std::string format_duration(uint64_t nanoseconds);

}  // namespace insight
