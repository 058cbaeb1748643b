// SPDX-License-Identifier: Apache-2.0
// The C interface from C, every function of it; see tests/integration/publisher_foreign_test.py.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <insight/insight.h>

static void print_context(const char* name, insight_span_context context) {
  printf("%s ", name);
  for (size_t i = 0; i < sizeof context.trace_id; ++i) printf("%02x", context.trace_id[i]);
  printf(" ");
  for (size_t i = 0; i < sizeof context.span_id; ++i) printf("%02x", context.span_id[i]);
  printf("\n");
  fflush(stdout);
}

static int is_none(insight_span_context context) {
  const insight_span_context none = {{0}, {0}};
  return memcmp(&context, &none, sizeof none) == 0;
}

// Every function takes a null handle.
static int use_nothing(void) {
  insight_close(NULL, 10);
  insight_free(NULL);
  insight_counter_add(NULL, 1);
  insight_counter_free(insight_counter_with(NULL, NULL, 0));
  insight_gauge_set(NULL, 1);
  insight_gauge_add(NULL, 1);
  insight_gauge_free(insight_gauge_with(NULL, NULL, 0));
  insight_histogram_observe(NULL, 1);
  insight_histogram_free(insight_histogram_with(NULL, NULL, 0));
  insight_progress(NULL, "loop", 1);
  insight_span_attribute_string(NULL, "a", "b");
  insight_span_attribute_int(NULL, "a", 1);
  insight_span_attribute_double(NULL, "a", 1);
  insight_span_attribute_bool(NULL, "a", 1);
  insight_span_event(NULL, "a", NULL, 0);
  insight_span_link(NULL, NULL, NULL, 0);
  insight_span_status(NULL, 1);
  insight_span_detach(NULL);
  insight_span_end(insight_span_begin(NULL, "a", "b", NULL));
  insight_span_end(insight_state_begin(NULL, "a", "b", NULL, NULL, 0));
  insight_scope_leave(NULL);
  insight_get_status(NULL, NULL);
  return insight_counter_get(NULL, "a", "", NULL, 0) == NULL &&
         insight_gauge_get(NULL, "a", "", INSIGHT_MERGE_LAST, NULL, 0) == NULL &&
         insight_histogram_get(NULL, "a", "", NULL, 0, NULL, 0) == NULL &&
         insight_dropped(NULL, NULL) == 0 && is_none(insight_span_get_context(NULL)) &&
         is_none(insight_current_span());
}

int main(void) {
  if (!use_nothing()) return 1;
  const insight_label role = {"role", "rollout"};
  insight_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.service = "engine";
  options.resource = &role;
  options.resource_count = 1;
  insight_publisher* publisher = insight_open(&options);

  const insight_label qwen = {"model", "qwen"};
  const insight_label llama = {"model", "llama"};
  insight_counter* tokens =
      insight_counter_get(publisher, "engine_tokens_total", "Tokens", &qwen, 1);
  insight_counter* other_tokens = insight_counter_with(tokens, &llama, 1);
  insight_counter_add(tokens, 128);
  insight_counter_add(tokens, -1);
  insight_counter_add(other_tokens, 0.5);
  insight_gauge* depth =
      insight_gauge_get(publisher, "engine_depth", NULL, INSIGHT_MERGE_SUM, NULL, 0);
  insight_gauge* llama_depth = insight_gauge_with(depth, &llama, 1);
  insight_gauge_set(depth, 3);
  insight_gauge_add(depth, -1);
  insight_gauge_set(llama_depth, 7);
  const double bounds[] = {0.1, 0.3, 1};
  insight_histogram* took =
      insight_histogram_get(publisher, "engine_took_seconds", "", bounds, 3, NULL, 0);
  insight_histogram* llama_took = insight_histogram_with(took, &llama, 1);
  insight_histogram_observe(llama_took, 5);
  insight_progress(publisher, "engine_loop", 5);

  insight_span* request = insight_span_begin(publisher, "request", "frontend", NULL);
  insight_span_detach(request);
  const insight_attribute step = {.key = "step", .type = INSIGHT_TYPE_INT, .int_value = 10};
  insight_span* state = insight_state_begin(publisher, "rollout", "trainer_0", NULL, &step, 1);
  insight_histogram_observe(took, 0.25);
  insight_span* child = insight_span_begin(publisher, "decode", "replica_0", NULL);
  insight_span_attribute_string(child, "model", "qwen");
  insight_span_attribute_int(child, "tokens", -5);
  insight_span_attribute_double(child, "loss", 2.0);
  insight_span_attribute_bool(child, "is_last", 1);
  insight_span_status(child, 0);
  insight_span_end(child);
  const insight_span_context request_context = insight_span_get_context(request);
  print_context("request", request_context);
  print_context("state", insight_current_span());
  getchar();

  const insight_attribute attributes[] = {
      {.key = "why", .type = INSIGHT_TYPE_STRING, .string_value = "memory"},
      {.key = "free_blocks", .type = INSIGHT_TYPE_INT, .int_value = 3},
      {.key = "share", .type = INSIGHT_TYPE_DOUBLE, .double_value = 0.5},
      {.key = "is_last", .type = INSIGHT_TYPE_BOOL, .int_value = 1},
  };
  insight_span_event(state, "preempted", attributes, 4);
  insight_span_link(state, &request_context, attributes, 1);
  insight_span_status(state, 1);
  insight_span_end(state);
  insight_scope* scope = insight_scope_enter(&request_context);
  insight_histogram_observe(took, 0.5);
  insight_scope_leave(scope);
  insight_span_end(request);
  insight_span_end(insight_state_begin(publisher, "open", "", NULL, NULL, 0));
  insight_close(publisher, 10000);

  // And after it has closed.
  insight_counter_add(tokens, 1);
  insight_gauge_set(depth, 9);
  insight_histogram_observe(took, 1);
  insight_span_end(insight_span_begin(publisher, "late", "", NULL));
  insight_status status;
  memset(&status, 0, sizeof status);
  status.size = sizeof status;
  insight_get_status(publisher, &status);
  printf("version %s\nspans %" PRIu64 "\nspans_sent %" PRIu64 "\nbad_value %" PRIu64 "\n",
         insight_version(), status.spans, status.spans_sent,
         insight_dropped(publisher, "bad_value"));
  insight_counter_free(tokens);
  insight_counter_free(other_tokens);
  insight_gauge_free(depth);
  insight_gauge_free(llama_depth);
  insight_histogram_free(took);
  insight_histogram_free(llama_took);
  insight_free(publisher);
  return 0;
}
