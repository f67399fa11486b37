"""Bodies that schemathesis does not know how to send: bytes are sent as they are."""

import schemathesis
from schemathesis.transport.requests import binary_serializer

schemathesis.serializer("application/zstd", "application/x-tar")(binary_serializer)
