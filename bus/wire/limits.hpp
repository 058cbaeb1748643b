// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// The limits of envelope version 1 (ENVELOPE.md, "Limits").  Checked before anything is allocated;
/// each has a vector that fails when it changes.
namespace insight::wire {

inline constexpr uint64_t kVersion = 1;
inline constexpr size_t kMaxEnvelopeBytes = 1 << 20;
inline constexpr size_t kMaxPoints = 65'536;
inline constexpr size_t kMaxSpans = 4'096;
inline constexpr size_t kMaxFamilyBytes = 8 << 10;
inline constexpr size_t kMaxLabelBytes = 4 << 10;  ///< the packed label values of one point
inline constexpr size_t kMaxLabels = 32;
inline constexpr size_t kMaxNameBytes = 255;
inline constexpr size_t kMaxStringBytes = 4 << 10;
inline constexpr size_t kMaxAttributes = 64;
inline constexpr size_t kMaxEvents = 32;
inline constexpr size_t kMaxLinks = 32;
inline constexpr size_t kMaxBuckets = 2'048;
inline constexpr size_t kMaxDepth = 8;
inline constexpr size_t kMaxResourceBytes = 4 << 10;
inline constexpr size_t kMaxResourceKeys = 64;
inline constexpr size_t kMaxKeys = 64;  ///< of an envelope, of a family's options
inline constexpr size_t kMaxRelays = 8;
inline constexpr size_t kMaxAccounts = 64;
inline constexpr uint64_t kMaxAheadNs =
    600ull * 1'000'000'000;  ///< a record from further in the future is `bad_time`
inline constexpr uint64_t kDefaultEveryMs = 10'000;
inline constexpr uint64_t kMinEveryMs = 100;        ///< less is taken as this
inline constexpr uint64_t kMaxEveryMs = 3'600'000;  ///< more is taken as this

}  // namespace insight::wire
