// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#define INSIGHT_API __attribute__((visibility("default")))

/// Metrics and spans of a program, published to an Insight Bus.
///
///     insight::Publisher publisher{{.service = "engine", .resource = {{"role", "rollout"}}}};
///     insight::Counter tokens = publisher.counter("engine_tokens_total", "Tokens generated");
///     tokens.add(128);
///
/// Nothing here blocks on the network, throws, or grows without bound; what cannot be kept is
/// counted (Publisher::status()).  Everything goes on working, as a new publisher, in a forked
/// child.
namespace insight {

/// Label names and values, in any order.
using Labels = std::vector<std::pair<std::string, std::string>>;

/// How the values of one gauge from several processes become one.
enum class Merge : uint8_t { last, sum, min, max, mean, each };

/// What the inline calls below need; not for use by applications.
namespace native {

class Core;
struct CurrentSpan;
struct Instrument;
struct SpanData;

inline constexpr size_t kCellsPerPage = 4096;
inline constexpr size_t kCellPages = 1024;

/// The cells of one thread.  A page that the thread has not used yet is null.
struct CellPages {
  std::array<double*, kCellPages> pages{};
  const CurrentSpan* current = nullptr;  ///< null: nothing is current on this thread
};

/// The one variable per thread: a shared page table with nothing but nulls until the thread records
/// something.  "initial-exec": reading it is one instruction, also in a library that is loaded
/// late.
extern INSIGHT_API constinit thread_local CellPages* thread_cells
    __attribute__((tls_model("initial-exec")));

/// Shares an instrument; null is inert.
class INSIGHT_API Handle {
 public:
  Handle() noexcept = default;

  /// Takes over one reference.
  explicit Handle(Instrument* instrument) noexcept : instrument_(instrument) {}

  Handle(const Handle& other) noexcept;

  Handle(Handle&& other) noexcept : instrument_(std::exchange(other.instrument_, nullptr)) {}

  Handle& operator=(Handle other) noexcept {
    std::swap(instrument_, other.instrument_);
    return *this;
  }

  ~Handle();

  Instrument* get() const noexcept { return instrument_; }

 private:
  Instrument* instrument_ = nullptr;
};

}  // namespace native

/// A total that only grows.  A small handle: copy it freely.  Thread-safe.  One that was refused,
/// or made by default, does nothing.
class INSIGHT_API Counter {
 public:
  Counter() noexcept = default;

  /// Adds `n` >= 0; anything else (negative, NaN, infinite) is counted as `bad_value` and ignored.
  /// Never blocks, never allocates but for the first call of a thread, never throws.
  void add(double n = 1) const noexcept {
    double* page = native::thread_cells->pages[cell_ / native::kCellsPerPage];
    if (page != nullptr && n >= 0 && n <= std::numeric_limits<double>::max()) [[likely]] {
      // Only this thread writes its cells, so no read-modify-write instruction is needed.
      const std::atomic_ref<double> cell(page[cell_ % native::kCellsPerPage]);
      cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    } else {
      add_slow(n);
    }
  }

  /// The counter with further labels (they win over those that it has).  Keep it where it is used
  /// often.
  Counter with(const Labels& labels) const noexcept;

  /// False: inert.
  explicit operator bool() const noexcept { return handle_.get() != nullptr; }

 private:
  friend class Publisher;
  explicit Counter(native::Handle handle) noexcept;
  void add_slow(double n) const noexcept;

  native::Handle handle_;
  uint32_t cell_ = 0;
};

/// A value that goes up and down.  A small handle: copy it freely.  Thread-safe.
class INSIGHT_API Gauge {
 public:
  Gauge() noexcept = default;

  /// NaN and infinities are values like any other.
  void set(double value) const noexcept;
  /// From 0 where nothing was set yet.
  void add(double difference) const noexcept;

  Gauge with(const Labels& labels) const noexcept;

  explicit operator bool() const noexcept { return handle_.get() != nullptr; }

 private:
  friend class Publisher;

  explicit Gauge(native::Handle handle) noexcept : handle_(std::move(handle)) {}

  native::Handle handle_;
};

/// A distribution in fixed buckets.  A small handle: copy it freely.  Thread-safe.
class INSIGHT_API Histogram {
 public:
  Histogram() noexcept = default;

  /// Adds one observation; NaN and infinities are counted as `bad_value` and ignored.
  /// Never blocks, never allocates but for the first call of a thread, never throws.
  ///
  /// Where a span is current on this thread, the observation may become the exemplar of the series:
  /// of those between two envelopes the largest does, because the rare slow ones are what people
  /// look for.
  void observe(double value) const noexcept;

  Histogram with(const Labels& labels) const noexcept;

  explicit operator bool() const noexcept { return handle_.get() != nullptr; }

 private:
  friend class Publisher;
  explicit Histogram(native::Handle handle) noexcept;

  native::Handle handle_;
  const double* bounds_ = nullptr;
  uint32_t bound_count_ = 0;
  uint32_t cell_ = 0;
};

/// Upper bounds for histograms.  A histogram without bounds takes them by the end of its name:
/// `_seconds`,
/// `_ms`, `_bytes`, `_tokens`; `seconds` for any other.
namespace buckets {

inline constexpr std::array<double, 19> seconds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                0.25,  0.5,    1,     2.5,  5,     10,   25,
                                                50,    100,    250,   500,  1000};
inline constexpr std::array<double, 19> milliseconds{
    1,    2.5,  5,      10,     25,     50,      100,     250,     500,      1000,
    2500, 5000, 10'000, 25'000, 50'000, 100'000, 250'000, 500'000, 1'000'000};
inline constexpr std::array<double, 14> bytes{
    256,       1024,       4096,       16'384,      65'536,        262'144,       1'048'576,
    4'194'304, 16'777'216, 67'108'864, 268'435'456, 1'073'741'824, 4'294'967'296, 17'179'869'184};
inline constexpr std::array<double, 18> tokens{
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16'384, 32'768, 65'536, 131'072};

}  // namespace buckets

/// Names one span across processes.  All zero: none.  Value.
struct SpanContext {
  std::array<unsigned char, 16> trace_id{};
  std::array<unsigned char, 8> span_id{};

  bool operator==(const SpanContext&) const = default;

  /// Both ids are there.
  explicit operator bool() const noexcept {
    return trace_id != decltype(trace_id){} && span_id != decltype(span_id){};
  }
};

/// What an attribute says; it keeps its type.  Text is viewed, and copied by the call that takes
/// it.  Value.
class SpanValue {
 public:
  using Variant = std::variant<std::string_view, int64_t, uint64_t, double, bool>;

  // Implicit, so that attribute("step", 10) and {{"step", 10}} read as they do.
  // NOLINTBEGIN(google-explicit-constructor,hicpp-explicit-conversions)
  SpanValue(std::string_view text) noexcept : value_(text) {}

  SpanValue(const std::string& text) noexcept : value_(std::string_view(text)) {}

  SpanValue(const char* text) noexcept : value_(std::string_view(text == nullptr ? "" : text)) {}

  template <typename Number>
    requires std::is_arithmetic_v<Number>
  SpanValue(Number value) noexcept {
    if constexpr (std::is_same_v<Number, bool>) {
      value_ = value;
    } else if constexpr (std::is_floating_point_v<Number>) {
      value_ = static_cast<double>(value);
    } else if constexpr (std::is_unsigned_v<Number>) {
      value_ = static_cast<uint64_t>(value);
    } else {
      value_ = static_cast<int64_t>(value);
    }
  }

  // NOLINTEND(google-explicit-constructor,hicpp-explicit-conversions)

  const Variant& get() const noexcept { return value_; }

 private:
  Variant value_;
};

struct SpanAttribute {
  std::string_view key;
  SpanValue value;
};

struct SpanOptions {
  std::string_view lane{};  ///< what does one thing at a time: a worker, a replica
  SpanContext parent{};     ///< its trace is continued; none: that of the current span
  std::vector<SpanAttribute> attributes{};  ///< from the start; of a state seen while it is open
  std::chrono::nanoseconds ago{0};          ///< it began so long before this call
};

/// An interval that ends with its scope.  Thread-bound: used and ended by one thread at a time.  A
/// span that is still open when its process forks is recorded by the parent alone.
///
/// From its beginning it is *current* on the thread that began it: spans that begin there without
/// an explicit parent become its children, and histograms take their exemplars from it.  It stops
/// being current when it ends, in whatever order and by whatever thread, and when it is moved or
/// detached: a span that is kept in an object lives on apart from the scope that began it.  Spans
/// that are current together are nested; the one that became current last counts.  Of more than 64
/// on one thread the innermost are not current.
///
/// A span holds 64 attributes, 32 events and 32 links, texts of 4 KiB, and 64 KiB in all.  What
/// comes beyond that is dropped and counted (`span_attribute`, `span_event`, `span_link`), never
/// the span.
class INSIGHT_API ActiveSpan {
 public:
  ActiveSpan() noexcept;
  ActiveSpan(ActiveSpan&& other) noexcept;
  ActiveSpan& operator=(ActiveSpan&& other) noexcept;
  ~ActiveSpan();

  /// Sets an attribute; the last value of a key wins.
  void attribute(std::string_view key, const SpanValue& value) noexcept;

  /// Something that happened now.
  ///
  ///     span.event("preempted", {{"free_blocks", 3}});
  void event(std::string_view name, std::span<const SpanAttribute> attributes) noexcept;

  void event(std::string_view name, std::initializer_list<SpanAttribute> attributes = {}) noexcept {
    event(name, std::span<const SpanAttribute>(attributes.begin(), attributes.size()));
  }

  /// Another span that this one has to do with and is no child of: the requests of a batch.
  void link(const SpanContext& to, std::span<const SpanAttribute> attributes) noexcept;

  void link(const SpanContext& to, std::initializer_list<SpanAttribute> attributes = {}) noexcept {
    link(to, std::span<const SpanAttribute>(attributes.begin(), attributes.size()));
  }

  /// The status of the span; neither is called: unset.
  void succeed() noexcept;
  void fail() noexcept;

  /// Is current no longer; it goes on otherwise.
  void detach() noexcept;

  /// Ends the span before its scope does.
  void end() noexcept;

  /// For a child of this span, here or elsewhere.  All zero when inert.
  SpanContext context() const noexcept;

 private:
  friend class Publisher;
  explicit ActiveSpan(std::unique_ptr<native::SpanData> data) noexcept;

  std::unique_ptr<native::SpanData> data_;
};

/// Makes a span current on this thread for a scope: one that was begun elsewhere, on another
/// thread or in another process.  With a context of zeros nothing is current in the scope.
/// Thread-bound.
///
///     insight::SpanScope scope(request.span);
class INSIGHT_API SpanScope {
 public:
  explicit SpanScope(const SpanContext& context) noexcept;

  explicit SpanScope(const ActiveSpan& span) noexcept : SpanScope(span.context()) {}

  ~SpanScope();
  SpanScope(const SpanScope&) = delete;
  SpanScope& operator=(const SpanScope&) = delete;

  /// What is current on this thread; all zero where nothing is.
  static SpanContext current() noexcept;

 private:
  std::shared_ptr<native::CurrentSpan> current_;
};

/// Every field has a default; environment variables fill what is left empty.
struct PublisherOptions {
  std::string service{};  ///< OTEL_SERVICE_NAME, else the name of the program
  /// What describes this process: run, role, rank, replica, anything.  These win over INSIGHT_RUN,
  /// INSIGHT_ROLE, INSIGHT_RANK, RANK and OTEL_RESOURCE_ATTRIBUTES.
  std::vector<std::pair<std::string, std::string>> resource{};
  std::string
      endpoint{};  ///< INSIGHT_ENDPOINT, else the local broker's socket, else tcp://127.0.0.1:5571
  std::chrono::milliseconds flush_interval{0};      ///< 0: INSIGHT_FLUSH_INTERVAL, else 250 ms
  std::chrono::milliseconds beat_interval{10'000};  ///< a sign of life at least this often
  std::chrono::milliseconds exit_deadline{1'000};   ///< how long the end of the process may wait
};

/// What became of what was recorded.  Value.
struct PublisherStatus {
  bool is_connected = false;
  bool has_said_bye = false;  ///< closed, and all that was recorded and not dropped was sent before
  std::string endpoint;
  uint64_t envelopes_sent = 0;
  uint64_t bytes_sent = 0;
  uint64_t series = 0;
  uint64_t spans = 0;  ///< recorded
  uint64_t spans_sent = 0;
  std::vector<std::pair<std::string, uint64_t>> drops;  ///< by reason; only those above 0
};

/// Owns the flush thread and the connection.  Thread-safe.  INSIGHT_DISABLED=1 or
/// OTEL_SDK_DISABLED=true makes it, and all that it hands out, inert.
class INSIGHT_API Publisher {
 public:
  explicit Publisher(const PublisherOptions& options = {}) noexcept;
  /// close() with the exit deadline of the options.
  ~Publisher();
  Publisher(Publisher&& other) noexcept;
  Publisher& operator=(Publisher&& other) noexcept;

  /// The same name and labels twice give the same instrument; the help of the first call stays.
  /// Inert, and counted, when the name is none, or is in use for another kind or other bounds.
  /// Beyond 2,000 label sets of a metric, or with labels that are not valid, a series with the
  /// label insight_overflow="true" takes what is recorded.
  Counter counter(std::string_view name, std::string_view help = {},
                  const Labels& labels = {}) noexcept;
  Gauge gauge(std::string_view name, std::string_view help = {}, const Labels& labels = {},
              Merge merge = Merge::last) noexcept;
  Histogram histogram(std::string_view name, std::span<const double> bounds = {},
                      std::string_view help = {}, const Labels& labels = {}) noexcept;

  Histogram histogram(std::string_view name, std::initializer_list<double> bounds,
                      std::string_view help = {}, const Labels& labels = {}) noexcept {
    return histogram(name, std::span<const double>(bounds.begin(), bounds.size()), help, labels);
  }

  /// Begins a span; it is recorded when it ends.
  ActiveSpan span(std::string_view name, const SpanOptions& options = {}) noexcept;

  /// Begins a span that is visible while it is still open: for what goes on for long, as a phase of
  /// training, so that one sees where it hangs.  Its beginning is sent with the next flush, and
  /// again every 15 s and to each new broker until it ends; the attributes of the options go with
  /// it, later ones with the end.  Takes a lock for a moment, unlike span().
  ///
  /// close() and the end of the process end the states that are open, with the attribute
  /// insight.reason="publisher_closed".  Beyond 4,096 states, or 4 MiB of them, that are open or
  /// wait to be sent, a state is counted as `state_limit` and recorded as a span when it ends.
  ///
  ///     auto state = publisher.state("rollout", {.lane = "trainer_0", .attributes = {{"step",
  ///     10}}});
  ActiveSpan state(std::string_view name, const SpanOptions& options = {}) noexcept;

  /// A tick of the loop `name`, which means to tick every `period`: proves that work goes on, not
  /// only that the process lives.
  void progress(std::string_view name, std::chrono::nanoseconds period) noexcept;

  /// Sends what is left and says bye, for at most `deadline`.  Afterwards everything is inert.
  void close(std::chrono::milliseconds deadline) noexcept;

  PublisherStatus status() const noexcept;

 private:
  native::Core* core_ = nullptr;
};

}  // namespace insight
