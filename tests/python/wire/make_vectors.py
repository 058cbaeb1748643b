# SPDX-License-Identifier: Apache-2.0
"""Writes bus/wire/vectors/*.json: python make_vectors.py. What each vector must give is said here by hand, no decoder is asked."""
import json
import pathlib

import vectors_envelope
import vectors_metrics
import vectors_spans

VECTORS = pathlib.Path(__file__).resolve().parents[3] / "bus/wire/vectors"


def groups():
    for module in (vectors_envelope, vectors_metrics, vectors_spans):
        for make in module.GROUPS:
            yield make()


def as_text(group):
    """One vector a line, so that a change shows as one."""
    lines = ",\n".join("    " + json.dumps(vector, ensure_ascii=False) for vector in group.vectors)
    about = json.dumps(group.about, ensure_ascii=False)
    return f'{{\n  "about": {about},\n  "vectors": [\n{lines}\n  ]\n}}\n'


if __name__ == "__main__":
    VECTORS.mkdir(exist_ok=True)
    for group in groups():
        (VECTORS / f"{group.name}.json").write_text(as_text(group))
        print(f"{group.name}: {len(group.vectors)}")
