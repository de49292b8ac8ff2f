"""Stands in for grpcurl, which Debian does not have: implements the command line and output that our pages use.

It uses none of our proto files: like grpcurl it gets everything from the server's reflection.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

_PATIENCE_S = 60
_WITH_VALUE = ("cacert", "cert", "key", "H", "d")
# grpcurl's exit status is this plus the code.
_STATUS_BASE = 64


def read_arguments(arguments):
    """Returns (options, the arguments after them)."""
    options, rest = {"H": []}, list(arguments)
    while rest and rest[0].startswith("-"):
        name = rest.pop(0).lstrip("-")
        if name not in _WITH_VALUE:
            sys.exit(f"grpcurl stand-in: unknown option -{name}")
        value = rest.pop(0)
        options[name] = options["H"] + [value] if name == "H" else value
    return options, rest


def read(path):
    with open(path, "rb") as file:
        return file.read()


def connect(options, address):
    if "cacert" not in options:
        sys.exit("grpcurl stand-in: no -cacert")
    identity = (read(options["key"]), read(options["cert"])) if "cert" in options else (None, None)
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(read(options["cacert"]), *identity))
    try:
        grpc.channel_ready_future(channel).result(timeout=5)
    except grpc.FutureTimeoutError:
        print(f"Failed to dial target host \"{address}\"", file=sys.stderr)
        sys.exit(1)
    return channel


def show_services(database, name):
    if name:
        service = descriptor_pool.DescriptorPool(database).FindServiceByName(name)
        lines = [method.full_name for method in service.methods]
    else:
        lines = list(database.get_services())
    print("\n".join(sorted(lines)))


def type_text(message, streams):
    return f"( {'stream ' if streams else ''}.{message.full_name} )"


def describe(database, name):
    service = descriptor_pool.DescriptorPool(database).FindServiceByName(name)
    print(f"{name} is a service:\nservice {service.name} {{")
    for method in service.methods:
        print(f"  rpc {method.name} {type_text(method.input_type, method.client_streaming)} "
              f"returns {type_text(method.output_type, method.server_streaming)};")
    print("}")


def call(channel, database, options, path):
    service_name, _, method_name = path.rpartition("/")
    method = descriptor_pool.DescriptorPool(database).FindServiceByName(service_name).methods_by_name[method_name]
    request_type, reply_type = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    request = json_format.Parse(options.get("d", "{}"), request_type())
    metadata = [tuple(part.strip() for part in header.split(":", 1)) for header in options["H"]]
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    stub = kind(f"/{path}", request_serializer=request_type.SerializeToString, response_deserializer=reply_type.FromString)
    answer = stub(request, metadata=metadata, timeout=_PATIENCE_S)
    for message in answer if method.server_streaming else [answer]:
        print(json_format.MessageToJson(message, indent=2))


def show_error(error):
    print(f"ERROR:\n  Code: {''.join(word.title() for word in error.code().name.split('_'))}\n"
          f"  Message: {error.details()}", file=sys.stderr)
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    for number, detail in enumerate(status_pb2.Status.FromString(details).details, 1):
        known = next(kind() for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest)
                     if detail.Is(kind.DESCRIPTOR))
        detail.Unpack(known)
        text = {"@type": detail.type_url, **json_format.MessageToDict(known)}
        print(f"  Details:\n  {number})\t{json.dumps(text)}", file=sys.stderr)


def main():
    options, rest = read_arguments(sys.argv[1:])
    address, what, name = rest[0], rest[1], rest[2] if len(rest) > 2 else ""
    with connect(options, address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        try:
            if what == "list":
                show_services(database, name)
            elif what == "describe":
                describe(database, name)
            else:
                call(channel, database, options, what)
        except grpc.RpcError as error:
            show_error(error)
            sys.exit(_STATUS_BASE + error.code().value[0])


if __name__ == "__main__":
    main()
