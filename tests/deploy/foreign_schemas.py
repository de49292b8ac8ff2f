"""Schemas of other projects' kinds that the chart creates and that kubernetes-validate does not know.

Each allows only the fields that the chart uses, so a misspelt field, or a new one that is not added here, fails a test.
They are based on the documentation of monitoring.coreos.com/v1 and cert-manager.io/v1.
"""

import jsonschema
from jsonschema import ValidationError

TEXT = {"type": "string", "minLength": 1}
WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
# As the Prometheus operator and Go write durations.
PROMETHEUS_TIME = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w|y))+$"}
GO_TIME = {"type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h))+$"}
RULE_NAME = {"type": "string", "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"}


def closed(required, **properties):
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def listed(items):
    return {"type": "array", "minItems": 1, "items": items}


def one_of(*words):
    return {"enum": list(words)}


_RELABELING = closed(["targetLabel", "replacement"], targetLabel=TEXT, replacement=TEXT)
_ENDPOINT = closed(["port"], port=TEXT, path={"type": "string", "pattern": "^/"}, interval=PROMETHEUS_TIME,
                   relabelings=listed(_RELABELING))
_ALERT = closed(["alert", "expr", "labels", "annotations"], **{
    "alert": RULE_NAME, "expr": TEXT, "for": PROMETHEUS_TIME, "labels": WORDS, "annotations": WORDS})
_RECORD = closed(["record", "expr"], record=RULE_NAME, expr=TEXT)
_GROUP = closed(["name", "rules"], name=TEXT, rules=listed({"oneOf": [_ALERT, _RECORD]}))
_ISSUER = closed(["name", "kind", "group"], name=TEXT, kind=one_of("Issuer", "ClusterIssuer"), group=TEXT)
_KEY = closed(["algorithm", "size"], algorithm=one_of("ECDSA"), size=one_of(256, 384, 521), encoding=one_of("PKCS1", "PKCS8"),
              rotationPolicy=one_of("Always", "Never"))

KINDS = {
    "ServiceMonitor": ("monitoring.coreos.com/v1", closed(
        ["selector", "endpoints"], selector=closed(["matchLabels"], matchLabels=WORDS), endpoints=listed(_ENDPOINT))),
    "PrometheusRule": ("monitoring.coreos.com/v1", closed(["groups"], groups=listed(_GROUP))),
    "Certificate": ("cert-manager.io/v1", closed(
        ["secretName", "issuerRef", "dnsNames"], secretName=TEXT, issuerRef=_ISSUER,
        commonName={"type": "string", "maxLength": 64}, duration=GO_TIME, renewBefore=GO_TIME, privateKey=_KEY,
        dnsNames=listed({"type": "string", "pattern": "^(\\*\\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}), ipAddresses=listed(TEXT),
        usages=listed(one_of("server auth", "client auth")))),
}


def validate(thing):
    """Raises ValidationError, whose text names the path."""
    version, spec = KINDS[thing["kind"]]
    metadata = closed(["name", "labels"], name=TEXT, labels=WORDS, annotations=WORDS)
    jsonschema.validate(thing, closed(["apiVersion", "kind", "metadata", "spec"], apiVersion=one_of(version),
                                      kind=one_of(thing["kind"]), metadata=metadata, spec=spec))
