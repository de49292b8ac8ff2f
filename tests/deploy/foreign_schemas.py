"""Schemas of other projects' kinds that the chart creates and that kubernetes-validate does not know.

Each allows only the fields that the chart uses, so a misspelt field, or a new one that is not added here, fails a test.
They are based on the documentation of monitoring.coreos.com/v1, cert-manager.io/v1, keda.sh/v1alpha1 and
gateway.networking.k8s.io/v1alpha2.
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

_TARGET = closed(["apiVersion", "kind", "name"], apiVersion=one_of("apps/v1"), kind=one_of("StatefulSet"), name=TEXT)
_SCALE_DOWN = closed(["stabilizationWindowSeconds"], stabilizationWindowSeconds={"type": "integer", "minimum": 0, "maximum": 3600})
_AUTOSCALER = closed(["behavior"], behavior=closed(["scaleDown"], scaleDown=_SCALE_DOWN))
# KEDA reads the values of a trigger's metadata as text.
_PROMETHEUS = closed(["serverAddress", "query", "threshold"], serverAddress=TEXT, query=TEXT,
                     threshold={"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$"})
_TRIGGER = closed(["type", "metadata"], type=one_of("prometheus"), metricType=one_of("AverageValue", "Value"),
                  metadata=_PROMETHEUS)
_COUNT = {"type": "integer", "minimum": 0}

KINDS = {
    "ServiceMonitor": ("monitoring.coreos.com/v1", closed(
        ["selector", "endpoints"], selector=closed(["matchLabels"], matchLabels=WORDS), endpoints=listed(_ENDPOINT))),
    "PrometheusRule": ("monitoring.coreos.com/v1", closed(["groups"], groups=listed(_GROUP))),
    "ScaledObject": ("keda.sh/v1alpha1", closed(
        ["scaleTargetRef", "triggers"], scaleTargetRef=_TARGET, minReplicaCount=_COUNT, maxReplicaCount=_COUNT,
        cooldownPeriod=_COUNT, advanced=closed(["horizontalPodAutoscalerConfig"], horizontalPodAutoscalerConfig=_AUTOSCALER),
        triggers=listed(_TRIGGER))),
    "Certificate": ("cert-manager.io/v1", closed(
        ["secretName", "issuerRef", "dnsNames"], secretName=TEXT, issuerRef=_ISSUER,
        commonName={"type": "string", "maxLength": 64}, duration=GO_TIME, renewBefore=GO_TIME, privateKey=_KEY,
        dnsNames=listed({"type": "string", "pattern": "^(\\*\\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}), ipAddresses=listed(TEXT),
        usages=listed(one_of("server auth", "client auth")))),
}

_REFERENCE = closed(["name"], name=TEXT, port={"type": "integer", "minimum": 1, "maximum": 65535}, sectionName=TEXT)
# Kinds that the chart does not create; its README has an example of each.
EXAMPLES = {
    "TLSRoute": ("gateway.networking.k8s.io/v1alpha2", closed(
        ["parentRefs", "hostnames", "rules"], parentRefs=listed(_REFERENCE), hostnames=listed(TEXT),
        rules=listed(closed(["backendRefs"], backendRefs=listed(_REFERENCE))))),
}


def validate(thing):
    """Raises ValidationError, whose text names the path."""
    version, spec = {**KINDS, **EXAMPLES}[thing["kind"]]
    needed = ["name", "labels"] if thing["kind"] in KINDS else ["name"]
    metadata = closed(needed, name=TEXT, labels=WORDS, annotations=WORDS)
    jsonschema.validate(thing, closed(["apiVersion", "kind", "metadata", "spec"], apiVersion=one_of(version),
                                      kind=one_of(thing["kind"]), metadata=metadata, spec=spec))
