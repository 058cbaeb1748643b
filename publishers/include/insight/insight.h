// SPDX-License-Identifier: Apache-2.0
#pragma once

/*
 * Metrics and spans of a program, published to an Insight Bus: the C form of insight.hpp, which
 * says what each call does.
 *
 *     insight_publisher* publisher = insight_open(NULL);
 *     insight_counter* tokens = insight_counter_get(publisher, "tokens_total", "", NULL, 0);
 *     insight_counter_add(tokens, 128);
 *
 * Every function is safe from any thread, with a null handle, after insight_close() and in a forked
 * child, and never blocks on the network but for insight_close().  A handle lives until its own
 * insight_..._free() and may be used until then.  Strings are UTF-8, copied during the call; null
 * means empty.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// NOLINTBEGIN(readability-identifier-naming): as C writes names

#define INSIGHT_C_API __attribute__((visibility("default")))

typedef struct insight_publisher insight_publisher;
typedef struct insight_counter insight_counter;
typedef struct insight_gauge insight_gauge;
typedef struct insight_histogram insight_histogram;
typedef struct insight_span insight_span;

typedef struct insight_label {
  const char* name;
  const char* value;
} insight_label;

/* Set `size` to sizeof(insight_options) and what is not needed to 0: the struct may grow at its
 * end. */
typedef struct insight_options {
  size_t size;
  const char* service;
  const char* endpoint;
  const insight_label* resource;
  size_t resource_count;
  uint64_t flush_interval_ms;
  uint64_t beat_interval_ms;
  uint64_t exit_deadline_ms;
} insight_options;

/* Starts a publisher; null options mean defaults.  Null only when there is no memory. */
INSIGHT_C_API insight_publisher* insight_open(const insight_options* options);
/* Sends what is left and says bye, for at most that long.  Once is enough, also for a process that
 * ends by _exit(), as children of Python's multiprocessing do; exit() does it by itself. */
INSIGHT_C_API void insight_close(insight_publisher* publisher, uint64_t deadline_ms);
/* Closes, then frees the handle. */
INSIGHT_C_API void insight_free(insight_publisher* publisher);

INSIGHT_C_API insight_counter* insight_counter_get(insight_publisher* publisher, const char* name,
                                                   const char* help, const insight_label* labels,
                                                   size_t label_count);
INSIGHT_C_API void insight_counter_add(const insight_counter* counter, double n);
INSIGHT_C_API insight_counter* insight_counter_with(const insight_counter* counter,
                                                    const insight_label* labels,
                                                    size_t label_count);
INSIGHT_C_API void insight_counter_free(insight_counter* counter);

/* How the values of one gauge from several processes become one. */
typedef enum insight_merge {
  INSIGHT_MERGE_LAST = 0,
  INSIGHT_MERGE_SUM = 1,
  INSIGHT_MERGE_MIN = 2,
  INSIGHT_MERGE_MAX = 3,
  INSIGHT_MERGE_MEAN = 4,
  INSIGHT_MERGE_EACH = 5
} insight_merge;

INSIGHT_C_API insight_gauge* insight_gauge_get(insight_publisher* publisher, const char* name,
                                               const char* help, insight_merge merge,
                                               const insight_label* labels, size_t label_count);
INSIGHT_C_API void insight_gauge_set(const insight_gauge* gauge, double value);
INSIGHT_C_API void insight_gauge_add(const insight_gauge* gauge, double difference);
INSIGHT_C_API insight_gauge* insight_gauge_with(const insight_gauge* gauge,
                                                const insight_label* labels, size_t label_count);
INSIGHT_C_API void insight_gauge_free(insight_gauge* gauge);

/* Without bounds they go by the end of the name: _seconds, _ms, _bytes, _tokens. */
INSIGHT_C_API insight_histogram* insight_histogram_get(insight_publisher* publisher,
                                                       const char* name, const char* help,
                                                       const double* bounds, size_t bound_count,
                                                       const insight_label* labels,
                                                       size_t label_count);
INSIGHT_C_API void insight_histogram_observe(const insight_histogram* histogram, double value);
INSIGHT_C_API insight_histogram* insight_histogram_with(const insight_histogram* histogram,
                                                        const insight_label* labels,
                                                        size_t label_count);
INSIGHT_C_API void insight_histogram_free(insight_histogram* histogram);

/* A tick of a loop that means to tick every `period_seconds`. */
INSIGHT_C_API void insight_progress(insight_publisher* publisher, const char* name,
                                    double period_seconds);

/* Names one span across processes; all zero: none. */
typedef struct insight_span_context {
  unsigned char trace_id[16];
  unsigned char span_id[8];
} insight_span_context;

typedef enum insight_type {
  INSIGHT_TYPE_STRING = 0,
  INSIGHT_TYPE_INT = 1,
  INSIGHT_TYPE_DOUBLE = 2,
  INSIGHT_TYPE_BOOL = 3
} insight_type;

/* Key and value; only the member that `type` names is read. */
typedef struct insight_attribute {
  const char* key;
  insight_type type;
  const char* string_value;
  int64_t int_value; /* also of INSIGHT_TYPE_BOOL: 0 is false */
  double double_value;
} insight_attribute;

/* Begins a span, which is recorded when it ends.  `parent` may be null: then it is the span that is
 * current on this thread, if one is.  One thread at a time uses a span.
 *
 * It is current on the thread that began it until it ends (anywhere, in any order) or is detached:
 * histograms take their exemplars from it, and spans that begin there become its children.  Where
 * work changes threads in the middle (coroutines, goroutines, tasks), detach the span and enter a
 * scope around each call instead. */
INSIGHT_C_API insight_span* insight_span_begin(insight_publisher* publisher, const char* name,
                                               const char* lane,
                                               const insight_span_context* parent);
/* Begins a span that is visible, with these attributes, while it is still open: a phase that goes
 * on for long. */
INSIGHT_C_API insight_span* insight_state_begin(insight_publisher* publisher, const char* name,
                                                const char* lane,
                                                const insight_span_context* parent,
                                                const insight_attribute* attributes,
                                                size_t attribute_count);
INSIGHT_C_API void insight_span_attribute_string(insight_span* span, const char* key,
                                                 const char* value);
INSIGHT_C_API void insight_span_attribute_int(insight_span* span, const char* key, int64_t value);
INSIGHT_C_API void insight_span_attribute_double(insight_span* span, const char* key, double value);
INSIGHT_C_API void insight_span_attribute_bool(insight_span* span, const char* key, int value);
/* Something that happened now. */
INSIGHT_C_API void insight_span_event(insight_span* span, const char* name,
                                      const insight_attribute* attributes, size_t attribute_count);
/* Another span that this one has to do with and is no child of. */
INSIGHT_C_API void insight_span_link(insight_span* span, const insight_span_context* to,
                                     const insight_attribute* attributes, size_t attribute_count);
/* The status: 0 error, else ok; never called: unset. */
INSIGHT_C_API void insight_span_status(insight_span* span, int is_ok);
INSIGHT_C_API insight_span_context insight_span_get_context(const insight_span* span);
/* The span is current no longer and goes on: for one that outlives the call that began it. */
INSIGHT_C_API void insight_span_detach(insight_span* span);
/* Records the span and frees it. */
INSIGHT_C_API void insight_span_end(insight_span* span);

typedef struct insight_scope insight_scope;

/* Makes a span current on this thread until insight_scope_leave(): one that was begun on another
 * thread, in another process, or detached.  Null or zeros: nothing is current until then. */
INSIGHT_C_API insight_scope* insight_scope_enter(const insight_span_context* context);
INSIGHT_C_API void insight_scope_leave(insight_scope* scope);
/* What is current on this thread; all zero where nothing is. */
INSIGHT_C_API insight_span_context insight_current_span(void);

/* Set `size` to sizeof(insight_status): the struct may grow at its end. */
typedef struct insight_status {
  size_t size;
  int is_connected;
  uint64_t envelopes_sent;
  uint64_t bytes_sent;
  uint64_t series;
  uint64_t spans;
  uint64_t spans_sent;
} insight_status;

/* Fills `status` as far as its size goes. */
INSIGHT_C_API void insight_get_status(const insight_publisher* publisher, insight_status* status);
/* What was dropped for that reason ("bad_value", "span_buffer"...), null: for any. */
INSIGHT_C_API uint64_t insight_dropped(const insight_publisher* publisher, const char* reason);

INSIGHT_C_API const char* insight_version(void);

// NOLINTEND(readability-identifier-naming)

#ifdef __cplusplus
}
#endif
