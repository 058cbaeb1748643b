# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus server that scrapes the broker each second."""
import json
import pathlib
import shutil
import tempfile
import time
import urllib.parse

from bus import Process, free_port, http_request, wait_until

CONFIG = """
global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: bus
    static_configs:
      - targets: [{targets}]
"""


class Prometheus:
    def __init__(self, *targets, arguments=()):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="insight-prometheus-"))
        (self.directory / "prometheus.yml").write_text(CONFIG.format(targets=", ".join(f"'{t}'" for t in targets)))
        self.address = f"127.0.0.1:{free_port()}"
        self.process = Process(
            ["prometheus", f"--config.file={self.directory}/prometheus.yml", f"--storage.tsdb.path={self.directory}/data",
             f"--web.listen-address={self.address}", *arguments],
            self.directory / "prometheus.log",
        )
        wait_until(self.is_ready, 30, "Prometheus is ready")

    def is_ready(self):
        assert self.process.is_running, self.process.log[-4000:]
        try:
            return http_request(self.address, "/-/ready")[0] == 200
        except OSError:
            return False

    def query(self, expression, at=None):
        """The instant vector: [(labels, value)]."""
        parameters = {"query": expression} | ({"time": at} if at else {})
        _, _, body = http_request(self.address, "/api/v1/query?" + urllib.parse.urlencode(parameters))
        answer = json.loads(body)
        assert answer["status"] == "success", answer
        return [(entry["metric"], float(entry["value"][1])) for entry in answer["data"]["result"]]

    def exemplars(self, selector, seconds=3600):
        """[(labels of the series, exemplar)] of the last time."""
        now = time.time()
        parameters = {"query": selector, "start": now - seconds, "end": now + seconds}
        _, _, body = http_request(self.address, "/api/v1/query_exemplars?" + urllib.parse.urlencode(parameters))
        answer = json.loads(body)
        assert answer["status"] == "success", answer
        return [(entry["seriesLabels"], exemplar) for entry in answer["data"] for exemplar in entry["exemplars"]]

    def wait_query(self, expression, accept, timeout=30):
        """The first result that accept() agrees with."""
        last = []

        def reached():
            last[:] = [self.query(expression)]
            return accept(last[0])

        try:
            wait_until(reached, timeout, interval=0.2)
        except AssertionError as error:
            raise AssertionError(f"{expression}: {last[0] if last else error}") from None
        return last[0]

    def close(self):
        self.process.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
