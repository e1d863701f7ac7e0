"""Makes the calls that standard input lists, and prints the outcome of each. Both are JSON."""

import json
import sys

import grpc
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2  # noqa: F401  Types of details are known once it is imported.
from grpc_status import rpc_status

UNARY, STREAM = "/greeter.Greeter/Greet", "/greeter.Greeter/GreetOften"
THREE_TIMES = bytes([0x08, 3])
# Far longer than anything takes, on a machine that is busy with something else.
TIMEOUT = 120


def metadata_of(call):
    """Trailers without the time, with bytes as text."""
    pairs = [(name, value if isinstance(value, str) else value.hex()) for name, value in call.trailing_metadata()]
    return sorted(pair for pair in pairs if pair[0] != "date")


def outcome_of(error):
    # It fails where its code or its message are not those of the call.
    status = rpc_status.from_call(error)
    details = None if status is None else [MessageToDict(detail) for detail in status.details]
    return {
        "code": error.code().name,
        "message": error.details(),
        "details": details,
        "has_headers": bool(error.initial_metadata()),
        "metadata": metadata_of(error),
    }


def text_of(greeting):
    """Its only field is a short text: after a byte that names the field, and one for the length."""
    return greeting[2:].decode()


def make(call):
    options = [("grpc.enable_http_proxy", 0)]
    if call["service_config"]:
        options.append(("grpc.service_config", json.dumps(call["service_config"])))
    metadata = [tuple(pair) for pair in call["metadata"]]
    with grpc.insecure_channel(call["address"], options=options) as channel:
        raw = {"request_serializer": None, "response_deserializer": None}
        try:
            if call["streams"]:
                answers = channel.unary_stream(STREAM, **raw)(THREE_TIMES, metadata=metadata, timeout=TIMEOUT)
            else:
                answers = [channel.unary_unary(UNARY, **raw)(b"", metadata=metadata, timeout=TIMEOUT)]
            return {"code": "OK", "texts": [text_of(answer) for answer in answers]}
        except grpc.RpcError as error:
            return outcome_of(error)


json.dump([make(call) for call in json.load(sys.stdin)], sys.stdout)
