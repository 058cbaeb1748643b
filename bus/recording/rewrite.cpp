// SPDX-License-Identifier: Apache-2.0
#include "bus/recording/rewrite.hpp"

#include "bus/wire/pack.hpp"

namespace insight {

namespace {

using wire::Packer;
using wire::Unpacker;

constexpr uint32_t kSpanStart = 6;  // elements of a span
constexpr uint32_t kSpanEnd = 7;
constexpr uint32_t kSpanEvents = 10;

class Rewriter {
 public:
  Rewriter(std::string_view message, const Rewrite& with, std::string& out)
      : in_(message), with_(with), out_(out), pack_(out) {}

  bool run() {
    uint32_t pairs = 0;
    if (!in_.map(pairs)) return false;
    // The head needs the number of pairs that stay.
    uint32_t kept = 0;
    std::string body;
    Rewriter rest(in_.rest(), with_, body);
    for (uint32_t i = 0; i < pairs; ++i) {
      if (!rest.pair(kept)) return false;
    }
    pack_.map(kept);
    out_ += body;
    return true;
  }

 private:
  bool pair(uint32_t& kept) {
    std::string_view key;
    if (!in_.str(key)) return false;
    if (key == "clk" || key == "via" || (key == "every" && with_.every_ms != 0)) {
      if (!in_.skip()) return false;
      if (key != "every") return true;
      ++kept;
      return replace(key, [&] { pack_.uint(with_.every_ms); });
    }
    ++kept;
    if (key == "inc") return skip_and(key, [&] { pack_.bin(with_.incarnation.view()); });
    if (key == "seq") return skip_and(key, [&] { pack_.uint(with_.seq); });
    if (key == "sent") return skip_and(key, [&] { pack_.uint(with_.sent.wall_ns); });
    if (key == "mono") return skip_and(key, [&] { pack_.uint(with_.sent.mono_ns); });
    if (key == "boot") {
      return skip_and(key, [&] {
        pack_.bin({reinterpret_cast<const char*>(with_.boot.data()), with_.boot.size()});
      });
    }
    pack_.str(key);
    if (key == "t0" || key == "old") return time();
    if (key == "met") return metrics();
    if (key == "spn") return spans();
    return copy();
  }

  template <typename Write>
  bool replace(std::string_view key, Write write) {
    pack_.str(key);
    write();
    return true;
  }

  template <typename Write>
  bool skip_and(std::string_view key, Write write) {
    return in_.skip() && replace(key, write);
  }

  /// One object as it is.
  bool copy() {
    const std::string_view before = in_.rest();
    if (!in_.skip()) return false;
    out_ += before.substr(0, before.size() - in_.rest().size());
    return true;
  }

  bool copy(uint32_t objects) {
    for (uint32_t i = 0; i < objects; ++i) {
      if (!copy()) return false;
    }
    return true;
  }

  bool array(uint32_t& elements, uint32_t at_least) {
    if (!in_.array(elements) || elements < at_least) return false;
    pack_.array(elements);
    return true;
  }

  /// A time, moved; 0, nil and what is no time stay.
  bool time() {
    uint64_t ns = 0;
    double real = 0;
    Unpacker ahead = in_;
    if (!ahead.uint(ns)) {
      if (!ahead.real(real) || !(real > 0) || real >= 1.8e19) return copy();
      ns = static_cast<uint64_t>(real);
    }
    in_ = ahead;
    if (ns != 0) {
      const auto by = static_cast<uint64_t>(with_.shift_ns);
      const bool is_below = with_.shift_ns < 0 && ns <= uint64_t{0} - by;
      ns = is_below ? 1 : ns + by;
    }
    pack_.uint(ns);
    return true;
  }

  bool metrics() {
    uint32_t families = 0;
    if (!array(families, 0)) return false;
    for (uint32_t i = 0; i < families; ++i) {
      uint32_t elements = 0;
      if (!array(elements, 2)) return false;
      const std::string_view family = in_.rest();
      if (!copy()) return false;
      const size_t bytes = family.size() - in_.rest().size();
      // Its value is a time.
      const bool is_progress = family.substr(0, bytes).find(kProgressMetric) != family.npos;
      uint32_t points = 0;
      if (!array(points, 0)) return false;
      for (uint32_t j = 0; j < points; ++j) {
        if (!point(is_progress)) return false;
      }
      if (!copy(elements - 2)) return false;
    }
    return true;
  }

  bool point(bool is_progress) {
    uint32_t elements = 0;
    if (!array(elements, 2) || !copy()) return false;
    double seconds = 0;
    if (is_progress && in_.real(seconds)) {
      pack_.real(seconds + static_cast<double>(with_.shift_ns) * 1e-9);
    } else if (!copy()) {
      return false;
    }
    if (elements > 2 && !time()) return false;
    if (elements > 3 && !exemplar()) return false;
    return elements <= 4 || copy(elements - 4);
  }

  bool exemplar() {
    if (Unpacker ahead = in_; ahead.nil()) return copy();
    uint32_t elements = 0;
    return array(elements, 2) && copy() && time() && copy(elements - 2);
  }

  bool spans() {
    uint32_t spans = 0;
    if (!array(spans, 0)) return false;
    for (uint32_t i = 0; i < spans; ++i) {
      uint32_t elements = 0;
      if (!array(elements, 0)) return false;
      for (uint32_t j = 0; j < elements; ++j) {
        const bool is_time = j == kSpanStart || j == kSpanEnd;
        if (!(is_time ? time() : j == kSpanEvents ? events() : copy())) return false;
      }
    }
    return true;
  }

  bool events() {
    if (Unpacker ahead = in_; ahead.nil()) return copy();
    uint32_t events = 0;
    if (!array(events, 0)) return false;
    for (uint32_t i = 0; i < events; ++i) {
      uint32_t elements = 0;
      if (!array(elements, 1) || !time() || !copy(elements - 1)) return false;
    }
    return true;
  }

  Unpacker in_;
  const Rewrite& with_;
  std::string& out_;
  Packer pack_;
};

}  // namespace

bool rewrite_envelope(std::string_view message, const Rewrite& with, std::string& out) {
  out.clear();
  return Rewriter(message, with, out).run();
}

}  // namespace insight
