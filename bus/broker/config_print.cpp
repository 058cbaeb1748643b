// SPDX-License-Identifier: Apache-2.0
#include "bus/broker/config_print.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "bus/base/text.hpp"
#include "bus/broker/config_table.hpp"

namespace insight {

namespace {

constexpr std::string_view kMask = "***";
constexpr std::array<std::string_view, 7> kSecretWords{
    "token", "secret", "passw", "credential", "apikey", "api_key", "authorization"};

bool is_secret(std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  // The name of a file that holds one is none.
  if (lower.ends_with("_file")) return false;
  return std::ranges::any_of(
      kSecretWords, [&](std::string_view word) { return lower.find(word) != std::string::npos; });
}

/// True when one of the variables in `${NAME}` is a secret by its name.
bool takes_a_secret(std::string_view written) {
  while (true) {
    const size_t start = written.find("${");
    if (start == std::string_view::npos) return false;
    written.remove_prefix(start + 2);
    if (is_secret(written.substr(0, written.find_first_of(":}")))) return true;
  }
}

std::string quoted_key(std::string_view key) {
  const bool is_bare = !key.empty() && std::ranges::all_of(key, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
  return is_bare ? std::string(key) : toml_quoted(key);
}

class Printer {
 public:
  std::string table(const Config::Table& table) {
    std::string out = "[" + std::string(table.section);
    if (!table.name.empty()) out += "." + quoted_key(table.name);
    out += "]\n";
    // The keys are the bus's own, and a dot in one leads into a table: nothing to quote.
    for (const auto& [name, node] : table.values.members) {
      out += name + " = " + value(name, node) + "\n";
    }
    return out;
  }

  size_t masked() const noexcept { return masked_; }

 private:
  std::string value(std::string_view key, const ConfigNode& node) {
    switch (node.kind) {
      case ConfigNode::Kind::table: {
        std::string out;
        for (const auto& [name, member] : node.members) {
          out += (out.empty() ? " " : ", ") + quoted_key(name) + " = " + value(name, member);
        }
        return "{" + out + (out.empty() ? "}" : " }");
      }
      case ConfigNode::Kind::array: {
        std::string out;
        for (const ConfigNode& item : node.items) {
          out += (out.empty() ? "" : ", ") + value(key, item);
        }
        return "[" + out + "]";
      }
      case ConfigNode::Kind::text:
        return toml_quoted(text(key, node));
      case ConfigNode::Kind::number: {
        std::string out = show(node);
        if (out.find_first_of(".e") == std::string::npos) out += ".0";
        return out;
      }
      case ConfigNode::Kind::integer:
      case ConfigNode::Kind::boolean:
      case ConfigNode::Kind::time:
        return show(node);
    }
    return {};
  }

  std::string text(std::string_view key, const ConfigNode& node) {
    const std::string& written = node.written;
    // What came out of the environment may look like another variable, or be no text at all.
    const bool reads_back = is_utf8(node.text) && node.text.find("${") == std::string::npos;
    if (!written.empty() && (takes_a_secret(written) || is_secret(key) || !reads_back)) {
      return written;
    }
    if (is_secret(key) && !node.text.empty()) {
      ++masked_;
      return std::string(kMask);
    }
    return without_password(node.text);
  }

  /// "http://user:***@host".
  std::string without_password(const std::string& text) {
    const size_t scheme = text.find("://");
    if (scheme == std::string::npos) return text;
    const size_t start = scheme + 3;
    const size_t at = text.substr(0, text.find('/', start)).rfind('@');
    const size_t colon = text.find(':', start);
    if (at == std::string::npos || colon == std::string::npos || colon > at) return text;
    ++masked_;
    return text.substr(0, colon + 1) + std::string(kMask) + text.substr(at);
  }

  size_t masked_ = 0;
};

}  // namespace

std::string toml_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00" + to_hex({&c, 1});
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string print_config(const Config& config) {
  Printer printer;
  std::string out;
  for (const Config::Table& table : config.tables) {
    out += (out.empty() ? "" : "\n") + printer.table(table);
  }
  if (const size_t n = printer.masked(); n > 0) {
    out = "# " + std::to_string(n) + (n == 1 ? " value is" : " values are") +
          " masked with *** and must be put back before this file is used.\n" + out;
  }
  return out;
}

}  // namespace insight
