// SPDX-License-Identifier: Apache-2.0
#include "bus/collectors/zmq_collector.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/base/file.hpp"

namespace insight {

namespace {

using namespace std::chrono_literals;

// What waits is taken together up to these bounds, then handed over.
constexpr size_t kMaxMessagesTogether = 256;
constexpr uint64_t kMaxBytesTogether = 1 << 20;
constexpr uint64_t kMaxNsTogether = 5 * kMillisecond;

constexpr auto kIdleWait = 250ms;
constexpr uint64_t kSaveEveryNs = 10 * kSecond;
// After a stop: for so long at most, and no longer than nothing came for the quiet time.
constexpr uint64_t kReadOnNs = 500 * kMillisecond;
constexpr uint64_t kQuietNs = 100 * kMillisecond;
constexpr auto kReadOnWait = 20ms;

std::string in_table(const ZmqCollectorOptions& options) {
  return " (endpoints in [collectors." + options.name + "])";
}

// A name may hold anything that TOML allows in a key.
std::string snapshot_path(const ZmqCollectorOptions& options) {
  if (options.state_directory.empty()) return {};
  std::string name = options.name;
  std::replace(name.begin(), name.end(), '/', '_');
  return options.state_directory + "/ledger-" + name + ".snapshot";
}

/// The directory of an ipc path.  In the runtime directory below /tmp somebody else could have
/// waited for us.
void make_directory(const std::string& directory) {
  namespace fs = std::filesystem;
  if (!fs::exists(directory)) {
    fs::create_directories(fs::path(directory).parent_path());
    if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
      throw std::runtime_error(directory + ": " + std::strerror(errno));
    }
  }
  struct stat found{};
  if (directory == runtime_directory() && (lstat(directory.c_str(), &found) != 0 ||
                                           !S_ISDIR(found.st_mode) || found.st_uid != geteuid())) {
    throw std::runtime_error(directory +
                             " is not a directory of this user; remove it or set "
                             "XDG_RUNTIME_DIR");
  }
}

/// The socket of a broker that was killed; whoever holds the path's lock may remove it.
void remove_stale_socket(const std::string& path) {
  struct stat found{};
  if (lstat(path.c_str(), &found) != 0) return;
  if (!S_ISSOCK(found.st_mode)) throw std::runtime_error(path + " exists and is not a socket");
  unlink(path.c_str());
}

}  // namespace

ZmqCollector::ZmqCollector(ZmqCollectorOptions options, std::shared_ptr<SeriesIds> ids,
                           const Logger& log)
    : options_(std::move(options)),
      log_(log),
      ledger_path_(snapshot_path(options_)),
      intake_(options_.series, options_.ledger, std::move(ids), options_.keep_messages) {}

ZmqCollector::~ZmqCollector() = default;

void ZmqCollector::open() {
  if (options_.endpoints.empty()) {
    throw std::runtime_error("there is no endpoint to bind" + in_table(options_));
  }
  for (const Endpoint& endpoint : options_.endpoints) {
    if (!endpoint.is_loopback() && !options_.insecure) {
      throw std::runtime_error(endpoint.text() +
                               " can be reached from other machines and anybody there could write; "
                               "bind 127.0.0.1, or set insecure = true" +
                               in_table(options_));
    }
  }
  load_ledger();
  // From here on the file is not what a clean stop left.
  save_ledger(read_clocks(), false);
  socket_ = std::make_unique<transport::PullSocket>(context_);
  for (const Endpoint& endpoint : options_.endpoints) bind(endpoint);
  is_open_.store(true, std::memory_order_release);
}

void ZmqCollector::bind(const Endpoint& endpoint) {
  if (endpoint.kind == Endpoint::Kind::ipc) {
    make_directory(std::filesystem::path(endpoint.path).parent_path());
    auto lock = PathLock::take(endpoint.path);
    if (!lock) throw std::runtime_error(lock.error().message + in_table(options_));
    locks_.push_back(std::move(lock.value()));
    remove_stale_socket(endpoint.path);
  }
  const auto bound = socket_->bind(endpoint);
  if (!bound) {
    std::string why = bound.error().message;
    if (endpoint.kind == Endpoint::Kind::tcp && endpoint.port != 0) {
      if (const std::string holder = tcp_port_holder(endpoint.port); !holder.empty()) {
        why = "in use by " + holder;
      }
    }
    throw std::runtime_error(endpoint.text() + ": " + why + in_table(options_));
  }
  bound_.push_back(bound.value().text());
}

void ZmqCollector::load_ledger() {
  if (ledger_path_.empty()) return;
  const auto bytes = read_file(ledger_path_);
  if (!bytes) {
    if (std::filesystem::exists(ledger_path_))
      log_.warn("collector " + options_.name + ": " + bytes.error().message);
    return;
  }
  const auto loaded = intake_.load(bytes.value(), read_clocks());
  if (loaded) return;
  const std::string aside = ledger_path_ + ".unreadable";
  const bool is_aside = std::rename(ledger_path_.c_str(), aside.c_str()) == 0;
  log_.warn("collector " + options_.name + ": " + ledger_path_ +
            " cannot be read: " + loaded.error().message +
            (is_aside ? "; it is now " + aside : "") + "; publishers are taken as new");
}

void ZmqCollector::save_ledger(const Now& now, bool is_clean) {
  if (ledger_path_.empty()) return;
  next_save_ns_ = now.mono_ns + kSaveEveryNs;
  saved_messages_ = messages_;
  const auto error = replace_file(ledger_path_, intake_.save(now, is_clean), Durability::process);
  is_saved_.store(!error, std::memory_order_relaxed);
  uint64_t held_back = 0;
  if (error && save_log_.allows(now.mono_ns, held_back)) {
    log_.warn("collector " + options_.name + ": the ledger is not saved: " + error->message);
  }
}

void ZmqCollector::run(BatchReceiver& out, std::stop_token stop) {
  const UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const std::stop_callback on_stop(stop, [&wake] {
    const uint64_t one = 1;
    // It fails only when the counter is full, and then it is readable already.
    [[maybe_unused]] const ssize_t written = write(wake.get(), &one, sizeof one);
  });

  // However this ends: what takes nothing in any more is not open.
  struct Close {
    std::atomic<bool>& is_open;

    ~Close() { is_open.store(false, std::memory_order_release); }
  };

  const Close close{is_open_};
  while (!stop.stop_requested()) {
    if (socket_->wait(kIdleWait, wake.get())) take_waiting(out);
    do_chores(read_clocks());
  }
  const uint64_t stop_ns = mono_now_ns();
  uint64_t last_ns = stop_ns;
  for (uint64_t now_ns = stop_ns; now_ns < std::min(stop_ns + kReadOnNs, last_ns + kQuietNs);
       now_ns = mono_now_ns()) {
    if (socket_->wait(kReadOnWait) && take_waiting(out)) last_ns = mono_now_ns();
  }
  socket_.reset();
  for (const Endpoint& endpoint : options_.endpoints) {
    if (endpoint.kind == Endpoint::Kind::ipc) unlink(endpoint.path.c_str());  // libzmq leaves it
  }
  save_ledger(read_clocks(), true);
}

bool ZmqCollector::take_waiting(BatchReceiver& out) {
  const uint64_t start_ns = mono_now_ns();
  size_t messages = 0;
  uint64_t bytes = 0;
  while (messages < kMaxMessagesTogether && bytes < kMaxBytesTogether) {
    const auto frame = socket_->receive();
    if (!frame) break;
    const Now now = read_clocks();
    ++messages;
    bytes += frame->bytes.size();
    if (frame->more) {
      uint64_t together = frame->bytes.size();
      bool has_more = true;
      while (has_more) {
        const auto next = socket_->receive();
        if (!next) break;
        together += next->bytes.size();
        has_more = next->more;
      }
      intake_.refuse(Reason::multipart, together);
    } else {
      intake_.take(frame->bytes, now);
    }
    if (now.mono_ns - start_ns >= kMaxNsTogether) break;
  }
  messages_ += messages;
  intake_.deliver(out);
  return messages > 0;
}

void ZmqCollector::do_chores(const Now& now) {
  const transport::PullStats connections = socket_->stats();
  for (; cut_ < connections.cut; ++cut_) intake_.refuse(Reason::too_large, 0);
  uint64_t held_back = 0;
  if (connections.accept_failed > accept_failed_ && accept_log_.allows(now.mono_ns, held_back)) {
    accept_failed_ = connections.accept_failed;
    log_.warn("collector " + options_.name + ": " + std::to_string(accept_failed_) +
              " connections could not be accepted; raise the limit of open files (ulimit -n)");
  }
  if (now.mono_ns >= next_step_ns_) {
    intake_.step(now);
    next_step_ns_ = now.mono_ns + kSecond;
  }
  if (now.mono_ns >= next_save_ns_ && messages_ != saved_messages_) save_ledger(now, false);
}

CollectorStats ZmqCollector::stats() const {
  CollectorStats stats = intake_.stats();
  stats.name = options_.name;
  stats.type = "zmq";
  stats.is_open = is_open_.load(std::memory_order_acquire);
  if (stats.is_open) stats.endpoints = bound_;
  if (!is_saved_.load(std::memory_order_relaxed)) {
    stats.problem = "the ledger is not saved, so the next broker may count gaps that were none";
  }
  return stats;
}

std::vector<PublisherView> ZmqCollector::publishers(size_t limit) const {
  std::vector<PublisherView> views = intake_.publishers(limit);
  // Whoever reads that a publisher has ended and then asks the sinks must find its last records
  // there, and what the Ledger has booked may still wait to be handed over.
  intake_.wait_delivered();
  return views;
}

void raise_open_file_limit() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  // Refused: the old limit holds, and accept_failed is counted when it is reached.
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace insight
