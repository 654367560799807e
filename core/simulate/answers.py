"""What the proxy says when it answers by itself, to HTTP clients and to gRPC clients."""

from core.simulate.call import Answered

_GRPC = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""gRPC's "HTTP to gRPC Status Code Mapping", which Envoy follows."""

_UNKNOWN = 2


def answered(status: int, *, share: float, flag: str = "", grpc: bool = False) -> Answered:
    """`grpc`: the client speaks gRPC; it sees 200 and the status in a header of its own."""
    if not grpc:
        return Answered(share=share, status=status, flag=flag)
    return Answered(share=share, status=200, grpc=_GRPC.get(status, _UNKNOWN), flag=flag)


def aborted(code: int, *, share: float, grpc: bool) -> Answered:
    """The answer to a fault that asks for the gRPC status `code`; to other clients Envoy answers 200."""
    return Answered(share=share, status=200, grpc=code if grpc else None, flag="FI")
