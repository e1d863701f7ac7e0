"""Asks an authorization service with Envoy's own messages about the requests that standard input lists, and
prints its answers. Both are JSON."""

import json
import sys

import grpc
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from google.protobuf.json_format import MessageToDict

# Far longer than anything takes, on a machine that is busy with something else.
TIMEOUT = 120


def question(request):
    """As Envoy fills it in: see `CheckRequestUtils` in its source."""
    check = external_auth_pb2.CheckRequest()
    attributes = check.attributes
    attributes.source.address.socket_address.address = request["client"]
    attributes.source.address.socket_address.port_value = 54321
    attributes.destination.address.socket_address.address = "198.51.100.1"
    attributes.destination.address.socket_address.port_value = 443
    attributes.request.time.GetCurrentTime()
    attributes.context_extensions["virtual_host"] = "api"
    attributes.metadata_context.filter_metadata["envoy.filters.http.a"]["b"] = "c"
    http = attributes.request.http
    http.id = "1234567890"
    http.method = request["method"]
    http.path = request["path"]
    http.host = request["host"]
    http.scheme = request["scheme"]
    http.protocol = "HTTP/1.1"
    http.size = -1
    line = [(":method", http.method), (":path", http.path), (":authority", http.host), (":scheme", http.scheme)]
    for name, value in line + [tuple(pair) for pair in request["headers"]]:
        name = name.lower()
        if request["raw"]:
            header = http.header_map.headers.add()
            header.key = name
            header.raw_value = value.encode()
        elif name in http.headers:
            http.headers[name] += "," + value
        else:
            http.headers[name] = value
    if request["body"]:
        http.body = request["body"]
    return check


def headers_of(options):
    return [[option.header.key, option.header.value] for option in options]


def ask(request):
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(request["address"], options=options) as channel:
        stub = external_auth_pb2_grpc.AuthorizationStub(channel)
        try:
            answer = stub.Check(question(request), timeout=TIMEOUT)
        except grpc.RpcError as error:
            return {"failed": error.code().name}
        # Nothing in it is unknown to Envoy.
        json_form = MessageToDict(answer, preserving_proto_field_name=True)
        kind = answer.WhichOneof("http_response")
        if kind == "ok_response":
            assert answer.status.code == 0 and set(json_form) == {"status", "ok_response"}, json_form
            ok = answer.ok_response
            return {"status": 200, "headers": headers_of(ok.headers), "removed": list(ok.headers_to_remove)}
        assert kind == "denied_response" and answer.status.code != 0, json_form
        denied = answer.denied_response
        return {
            "status": denied.status.code,
            "headers": headers_of(denied.headers),
            "body": denied.body,
            "code": answer.status.code,
        }


json.dump([ask(request) for request in json.load(sys.stdin)], sys.stdout)
