// SPDX-License-Identifier: Apache-2.0

// The C interface from Go, without a module; see tests/integration/publisher_foreign_test.py.
package main

/*
#include <stdlib.h>
#include <insight/insight.h>
*/
import "C"

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"unsafe"
)

// C's memory for strings lives as long as this program.
func text(s string) *C.char { return C.CString(s) }

func label(name, value string) *C.insight_label {
	made := (*C.insight_label)(C.calloc(1, C.sizeof_insight_label))
	made.name, made.value = text(name), text(value)
	return made
}

func printContext(name string, context C.insight_span_context) {
	trace := C.GoBytes(unsafe.Pointer(&context.trace_id), 16)
	span := C.GoBytes(unsafe.Pointer(&context.span_id), 8)
	fmt.Printf("%s %x %x\n", name, trace, span)
}

func main() {
	// What is current belongs to a thread, and a goroutine may change its own.
	runtime.LockOSThread()
	options := (*C.insight_options)(C.calloc(1, C.sizeof_insight_options))
	options.size = C.sizeof_insight_options
	options.service = text("engine")
	options.resource = label("role", "rollout")
	options.resource_count = 1
	publisher := C.insight_open(options)

	llama := label("model", "llama")
	tokens := C.insight_counter_get(publisher, text("engine_tokens_total"), text("Tokens"), label("model", "qwen"), 1)
	otherTokens := C.insight_counter_with(tokens, llama, 1)
	C.insight_counter_add(tokens, 128)
	C.insight_counter_add(tokens, -1)
	C.insight_counter_add(otherTokens, 0.5)
	depth := C.insight_gauge_get(publisher, text("engine_depth"), nil, C.INSIGHT_MERGE_SUM, nil, 0)
	llamaDepth := C.insight_gauge_with(depth, llama, 1)
	C.insight_gauge_set(depth, 3)
	C.insight_gauge_add(depth, -1)
	C.insight_gauge_set(llamaDepth, 7)
	bounds := []C.double{0.1, 0.3, 1}
	took := C.insight_histogram_get(publisher, text("engine_took_seconds"), nil, &bounds[0], C.size_t(len(bounds)), nil, 0)
	llamaTook := C.insight_histogram_with(took, llama, 1)
	C.insight_histogram_observe(llamaTook, 5)
	C.insight_progress(publisher, text("engine_loop"), 5)

	request := C.insight_span_begin(publisher, text("request"), text("frontend"), nil)
	C.insight_span_detach(request)
	attributes := (*[4]C.insight_attribute)(C.calloc(4, C.sizeof_insight_attribute))
	attributes[0] = C.insight_attribute{key: text("step"), _type: C.INSIGHT_TYPE_INT, int_value: 10}
	state := C.insight_state_begin(publisher, text("rollout"), text("trainer_0"), nil, &attributes[0], 1)
	C.insight_histogram_observe(took, 0.25)
	child := C.insight_span_begin(publisher, text("decode"), text("replica_0"), nil)
	C.insight_span_attribute_string(child, text("model"), text("qwen"))
	C.insight_span_attribute_int(child, text("tokens"), -5)
	C.insight_span_attribute_double(child, text("loss"), 2)
	C.insight_span_attribute_bool(child, text("is_last"), 1)
	C.insight_span_status(child, 0)
	C.insight_span_end(child)
	requestContext := C.insight_span_get_context(request)
	printContext("request", requestContext)
	printContext("state", C.insight_current_span())
	bufio.NewReader(os.Stdin).ReadString('\n')

	attributes[0] = C.insight_attribute{key: text("why"), _type: C.INSIGHT_TYPE_STRING, string_value: text("memory")}
	attributes[1] = C.insight_attribute{key: text("free_blocks"), _type: C.INSIGHT_TYPE_INT, int_value: 3}
	attributes[2] = C.insight_attribute{key: text("share"), _type: C.INSIGHT_TYPE_DOUBLE, double_value: 0.5}
	attributes[3] = C.insight_attribute{key: text("is_last"), _type: C.INSIGHT_TYPE_BOOL, int_value: 1}
	C.insight_span_event(state, text("preempted"), &attributes[0], 4)
	C.insight_span_link(state, &requestContext, &attributes[0], 1)
	C.insight_span_status(state, 1)
	C.insight_span_end(state)
	scope := C.insight_scope_enter(&requestContext)
	C.insight_histogram_observe(took, 0.5)
	C.insight_scope_leave(scope)
	C.insight_span_end(request)
	C.insight_span_end(C.insight_state_begin(publisher, text("open"), nil, nil, nil, 0))
	C.insight_close(publisher, 10000)

	var status C.insight_status
	status.size = C.sizeof_insight_status
	C.insight_get_status(publisher, &status)
	fmt.Println("version", C.GoString(C.insight_version()))
	fmt.Println("spans", status.spans)
	fmt.Println("spans_sent", status.spans_sent)
	fmt.Println("bad_value", C.insight_dropped(publisher, text("bad_value")))
	C.insight_counter_free(tokens)
	C.insight_counter_free(otherTokens)
	C.insight_gauge_free(depth)
	C.insight_gauge_free(llamaDepth)
	C.insight_histogram_free(took)
	C.insight_histogram_free(llamaTook)
	C.insight_free(publisher)
}
