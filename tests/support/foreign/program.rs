// SPDX-License-Identifier: Apache-2.0
// The C interface from Rust, without a crate; see tests/integration/publisher_foreign_test.py.
use std::ffi::{c_char, c_double, c_int, c_void, CString};
use std::io::{stdin, BufRead};
use std::ptr::null;

type Handle = *mut c_void;

#[repr(C)]
struct Label {
    name: *const c_char,
    value: *const c_char,
}

#[repr(C)]
struct Options {
    size: usize,
    service: *const c_char,
    endpoint: *const c_char,
    resource: *const Label,
    resource_count: usize,
    flush_interval_ms: u64,
    beat_interval_ms: u64,
    exit_deadline_ms: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct SpanContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

#[repr(C)]
struct Attribute {
    key: *const c_char,
    kind: c_int,
    string_value: *const c_char,
    int_value: i64,
    double_value: c_double,
}

#[repr(C)]
struct Status {
    size: usize,
    is_connected: c_int,
    envelopes_sent: u64,
    bytes_sent: u64,
    series: u64,
    spans: u64,
    spans_sent: u64,
}

const STRING: c_int = 0;
const INT: c_int = 1;
const DOUBLE: c_int = 2;
const BOOL: c_int = 3;
const MERGE_SUM: c_int = 1;

#[link(name = "insight")]
extern "C" {
    fn insight_open(options: *const Options) -> Handle;
    fn insight_close(publisher: Handle, deadline_ms: u64);
    fn insight_free(publisher: Handle);
    fn insight_counter_get(publisher: Handle, name: *const c_char, help: *const c_char, labels: *const Label, count: usize) -> Handle;
    fn insight_counter_with(counter: Handle, labels: *const Label, count: usize) -> Handle;
    fn insight_counter_add(counter: Handle, n: c_double);
    fn insight_counter_free(counter: Handle);
    fn insight_gauge_get(publisher: Handle, name: *const c_char, help: *const c_char, merge: c_int, labels: *const Label, count: usize) -> Handle;
    fn insight_gauge_with(gauge: Handle, labels: *const Label, count: usize) -> Handle;
    fn insight_gauge_set(gauge: Handle, value: c_double);
    fn insight_gauge_add(gauge: Handle, difference: c_double);
    fn insight_gauge_free(gauge: Handle);
    fn insight_histogram_get(publisher: Handle, name: *const c_char, help: *const c_char, bounds: *const c_double, bound_count: usize, labels: *const Label, count: usize) -> Handle;
    fn insight_histogram_with(histogram: Handle, labels: *const Label, count: usize) -> Handle;
    fn insight_histogram_observe(histogram: Handle, value: c_double);
    fn insight_histogram_free(histogram: Handle);
    fn insight_progress(publisher: Handle, name: *const c_char, period_seconds: c_double);
    fn insight_span_begin(publisher: Handle, name: *const c_char, lane: *const c_char, parent: *const SpanContext) -> Handle;
    fn insight_state_begin(publisher: Handle, name: *const c_char, lane: *const c_char, parent: *const SpanContext, attributes: *const Attribute, count: usize) -> Handle;
    fn insight_span_attribute_string(span: Handle, key: *const c_char, value: *const c_char);
    fn insight_span_attribute_int(span: Handle, key: *const c_char, value: i64);
    fn insight_span_attribute_double(span: Handle, key: *const c_char, value: c_double);
    fn insight_span_attribute_bool(span: Handle, key: *const c_char, value: c_int);
    fn insight_span_event(span: Handle, name: *const c_char, attributes: *const Attribute, count: usize);
    fn insight_span_link(span: Handle, to: *const SpanContext, attributes: *const Attribute, count: usize);
    fn insight_span_status(span: Handle, is_ok: c_int);
    fn insight_span_get_context(span: Handle) -> SpanContext;
    fn insight_span_detach(span: Handle);
    fn insight_span_end(span: Handle);
    fn insight_scope_enter(context: *const SpanContext) -> Handle;
    fn insight_scope_leave(scope: Handle);
    fn insight_current_span() -> SpanContext;
    fn insight_get_status(publisher: Handle, status: *mut Status);
    fn insight_dropped(publisher: Handle, reason: *const c_char) -> u64;
    fn insight_version() -> *const c_char;
}

fn text(s: &str) -> CString {
    CString::new(s).unwrap()
}

fn attribute(key: &CString, kind: c_int) -> Attribute {
    Attribute { key: key.as_ptr(), kind, string_value: null(), int_value: 0, double_value: 0.0 }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn print_context(name: &str, context: SpanContext) {
    println!("{name} {} {}", hex(&context.trace_id), hex(&context.span_id));
}

fn main() {
    let (role, rollout, engine) = (text("role"), text("rollout"), text("engine"));
    let (model, qwen, llama) = (text("model"), text("qwen"), text("llama"));
    let resource = Label { name: role.as_ptr(), value: rollout.as_ptr() };
    let qwen_label = Label { name: model.as_ptr(), value: qwen.as_ptr() };
    let llama_label = Label { name: model.as_ptr(), value: llama.as_ptr() };
    let options = Options {
        size: std::mem::size_of::<Options>(),
        service: engine.as_ptr(),
        endpoint: null(),
        resource: &resource,
        resource_count: 1,
        flush_interval_ms: 0,
        beat_interval_ms: 0,
        exit_deadline_ms: 0,
    };
    let (key_step, key_why, memory) = (text("step"), text("why"), text("memory"));
    let (key_free, key_share, key_last) = (text("free_blocks"), text("share"), text("is_last"));
    unsafe {
        let publisher = insight_open(&options);
        let tokens = insight_counter_get(publisher, text("engine_tokens_total").as_ptr(), text("Tokens").as_ptr(), &qwen_label, 1);
        let other_tokens = insight_counter_with(tokens, &llama_label, 1);
        insight_counter_add(tokens, 128.0);
        insight_counter_add(tokens, -1.0);
        insight_counter_add(other_tokens, 0.5);
        let depth = insight_gauge_get(publisher, text("engine_depth").as_ptr(), null(), MERGE_SUM, null(), 0);
        let llama_depth = insight_gauge_with(depth, &llama_label, 1);
        insight_gauge_set(depth, 3.0);
        insight_gauge_add(depth, -1.0);
        insight_gauge_set(llama_depth, 7.0);
        let bounds = [0.1, 0.3, 1.0];
        let took = insight_histogram_get(publisher, text("engine_took_seconds").as_ptr(), null(), bounds.as_ptr(), bounds.len(), null(), 0);
        let llama_took = insight_histogram_with(took, &llama_label, 1);
        insight_histogram_observe(llama_took, 5.0);
        insight_progress(publisher, text("engine_loop").as_ptr(), 5.0);

        let request = insight_span_begin(publisher, text("request").as_ptr(), text("frontend").as_ptr(), null());
        insight_span_detach(request);
        let step = Attribute { int_value: 10, ..attribute(&key_step, INT) };
        let state = insight_state_begin(publisher, rollout.as_ptr(), text("trainer_0").as_ptr(), null(), &step, 1);
        insight_histogram_observe(took, 0.25);
        let child = insight_span_begin(publisher, text("decode").as_ptr(), text("replica_0").as_ptr(), null());
        insight_span_attribute_string(child, model.as_ptr(), qwen.as_ptr());
        insight_span_attribute_int(child, text("tokens").as_ptr(), -5);
        insight_span_attribute_double(child, text("loss").as_ptr(), 2.0);
        insight_span_attribute_bool(child, key_last.as_ptr(), 1);
        insight_span_status(child, 0);
        insight_span_end(child);
        let request_context = insight_span_get_context(request);
        print_context("request", request_context);
        print_context("state", insight_current_span());
        stdin().lock().read_line(&mut String::new()).unwrap();

        let attributes = [
            Attribute { string_value: memory.as_ptr(), ..attribute(&key_why, STRING) },
            Attribute { int_value: 3, ..attribute(&key_free, INT) },
            Attribute { double_value: 0.5, ..attribute(&key_share, DOUBLE) },
            Attribute { int_value: 1, ..attribute(&key_last, BOOL) },
        ];
        insight_span_event(state, text("preempted").as_ptr(), attributes.as_ptr(), attributes.len());
        insight_span_link(state, &request_context, attributes.as_ptr(), 1);
        insight_span_status(state, 1);
        insight_span_end(state);
        let scope = insight_scope_enter(&request_context);
        insight_histogram_observe(took, 0.5);
        insight_scope_leave(scope);
        insight_span_end(request);
        insight_span_end(insight_state_begin(publisher, text("open").as_ptr(), null(), null(), null(), 0));
        insight_close(publisher, 10_000);

        let mut status: Status = std::mem::zeroed();
        status.size = std::mem::size_of::<Status>();
        insight_get_status(publisher, &mut status);
        println!("version {}", std::ffi::CStr::from_ptr(insight_version()).to_str().unwrap());
        println!("spans {}\nspans_sent {}", status.spans, status.spans_sent);
        println!("bad_value {}", insight_dropped(publisher, text("bad_value").as_ptr()));
        insight_counter_free(tokens);
        insight_counter_free(other_tokens);
        insight_gauge_free(depth);
        insight_gauge_free(llama_depth);
        insight_histogram_free(took);
        insight_histogram_free(llama_took);
        insight_free(publisher);
    }
}
