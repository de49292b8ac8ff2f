"""Renders helm/regroup with Helm's own engine."""

import contextlib
import copy
import functools
import json
import os
import sys

import yaml

from harness import places

FOLDER = places.REPOSITORY / "helm/regroup"
CI_VALUES = sorted((FOLDER / "ci").glob("*-values.yaml"))


@contextlib.contextmanager
def _quiet():
    """Suppresses Helm's notes on standard error that it follows our symbolic links."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    sys.stderr.flush()
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def load():
    from helm_python import Chart
    with _quiet():
        return Chart.load(FOLDER)


def lint(values):
    from helm_python import lint
    with _quiet():
        return lint(FOLDER, values, strict=True)


def read_values(path):
    return yaml.safe_load(path.read_text()) or {}


def render(values, name="demo", namespace="ml", **settings):
    """Returns a dictionary of template file -> text."""
    with load() as loaded:
        return loaded.render(values=values, name=name, namespace=namespace, **settings)


def manifests(values, **settings):
    """Returns every object; the caller may change them."""
    return copy.deepcopy(_manifests(json.dumps([values, settings])))


@functools.cache
def _manifests(request):
    """Caches renderings: one takes a second, and many tests need the same."""
    values, settings = json.loads(request)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for path, text in render(values, **settings).items() if not path.endswith(".txt")
            for document in yaml.load_all(text, Loader=loader) if document]


def find(objects, kind, name):
    found = [thing for thing in objects if thing["kind"] == kind and thing["metadata"]["name"].endswith(name)]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} objects {kind} ...{name}")
    return found[0]


def pod_templates(objects):
    """Yields (name, pod) of everything that becomes a pod; a pod has `metadata` and `spec`."""
    for thing in objects:
        if thing["kind"] == "Pod":
            yield thing["metadata"]["name"], thing
        elif "template" in thing.get("spec", {}):
            yield thing["metadata"]["name"], thing["spec"]["template"]
