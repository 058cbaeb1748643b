# SPDX-License-Identifier: Apache-2.0
"""A Python program on libinsight.so by ctypes: adds 1,000 to a counter, then starts 4 children by the given
method; each adds 10 and records a span.

    python ctypes_publisher.py LIBRARY fork|spawn|forkserver|os.fork
"""
import ctypes
import multiprocessing
import multiprocessing.util
import os
import sys

CHILDREN = 4


class Insight:
    """The few calls of insight.h that this program needs."""

    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        pointer, text, double = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_double
        for name, result, arguments in [
            ("insight_open", pointer, [pointer]),
            ("insight_close", None, [pointer, ctypes.c_uint64]),
            ("insight_counter_get", pointer, [pointer, text, text, pointer, ctypes.c_size_t]),
            ("insight_counter_add", None, [pointer, double]),
            ("insight_span_begin", pointer, [pointer, text, text, pointer]),
            ("insight_span_end", None, [pointer]),
        ]:
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments
        self.publisher = self.c.insight_open(None)
        self.jobs = self.c.insight_counter_get(self.publisher, b"jobs_total", b"Jobs", None, 0)
        # Children of multiprocessing end by os._exit, which runs no exit handlers.
        self.close_at_exit()

    def close_at_exit(self):
        multiprocessing.util.Finalize(None, self.c.insight_close, (self.publisher, 5_000), exitpriority=100)

    def work(self, n):
        span = self.c.insight_span_begin(self.publisher, b"work", b"lane", None)
        self.c.insight_counter_add(self.jobs, float(n))
        self.c.insight_span_end(span)


insight = None


def work_in_child(library):
    """Fork inherits the handles; the other methods begin with a fresh interpreter."""
    global insight
    if insight is None:
        insight = Insight(library)
    else:
        insight.close_at_exit()  # multiprocessing has cleared what was registered before the fork
    insight.work(10)


def main():
    global insight
    library, method = sys.argv[1:]
    insight = Insight(library)
    insight.work(1_000)
    if method == "os.fork":
        children = []
        for _ in range(CHILDREN):
            pid = os.fork()
            if pid == 0:
                insight.work(10)
                sys.exit(0)
            children.append(pid)
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
        return
    context = multiprocessing.get_context(method)
    children = [context.Process(target=work_in_child, args=(library,)) for _ in range(CHILDREN)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert all(child.exitcode == 0 for child in children), [child.exitcode for child in children]


if __name__ == "__main__":
    main()
