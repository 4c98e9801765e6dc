#!/usr/bin/env python3
"""/metrics through Prometheus' own parsers, /openapi.json through a validator: check_formats.py URL"""
import json
import sys
import urllib.request

from openapi_spec_validator import validate
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text


def get(path, accept="*/*"):
    request = urllib.request.Request(sys.argv[1] + path, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read().decode(), reply.headers["Content-Type"]


def check_histograms(families):
    for family in families:
        if family.type != "histogram":
            continue
        series = {}
        for sample in family.samples:
            labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
            series.setdefault((sample.name, labels), []).append(sample.value)
        for (name, labels), values in series.items():
            if name.endswith("_bucket"):
                assert values == sorted(values), f"{name} falls"
                assert values[-1] == series[(family.name + "_count", labels)][0], f"{name} does not end at its count"


def main():
    text, kind = get("/metrics")
    assert kind.startswith("text/plain"), kind
    families = list(parse_text(text))
    names = {family.name for family in families}
    assert len(names) == len(families), "a family occurs twice"
    needed = {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
              "vllm:time_to_first_token_seconds", "vllm:request_success"}
    assert needed <= names, needed - names
    check_histograms(families)
    open_text, open_kind = get("/metrics", "application/openmetrics-text; version=1.0.0")
    if open_kind.startswith("application/openmetrics-text"):
        check_histograms(list(parse_openmetrics(open_text)))
    document, kind = get("/openapi.json")
    assert kind.startswith("application/json"), kind
    validate(json.loads(document))
    print(f"formats: {len(families)} metric families parse, openapi.json validates")


main()
