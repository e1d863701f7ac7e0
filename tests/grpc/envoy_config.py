"""Reads the configurations that standard input lists, in YAML, as messages of Envoy's, and prints these as JSON."""

import json
import sys

import yaml
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2  # noqa: F401  Known once they are imported.
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf import json_format

KINDS = [http_connection_manager_pb2.HttpConnectionManager, cluster_pb2.Cluster]


def read(text, kind):
    # It fails where a field is unknown, or has a value of another type.
    message = json_format.ParseDict(yaml.safe_load(text), kind())
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


texts = json.load(sys.stdin)
assert len(texts) == len(KINDS), texts
json.dump([read(*pair) for pair in zip(texts, KINDS)], sys.stdout)
