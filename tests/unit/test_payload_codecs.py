"""Codecs wrap payloads, in a chain, and are asked for by name."""

from __future__ import annotations

import json
import zlib

import pytest

from loom.errors import PayloadError
from loom.history.payloads import PayloadCodec, PayloadConverter


class Deflate(PayloadCodec):
    name = "deflate"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Flip(PayloadCodec):
    name = "flip"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


class Broken(PayloadCodec):
    name = "broken"

    def encode(self, data: bytes) -> bytes:
        raise OSError("no key")

    def decode(self, data: bytes) -> bytes:
        return data


CHAIN = PayloadConverter([Deflate(), Flip()])
VALUE = {"secret": "x" * 1000}


def test_a_chain_of_codecs_is_undone_in_reverse() -> None:
    data = CHAIN.encode(VALUE)
    assert json.loads(data)["codec"] == "flip"
    assert b"secret" not in data
    assert CHAIN.decode(data) == VALUE


def test_payloads_from_before_the_codecs_stay_readable() -> None:
    assert CHAIN.decode(PayloadConverter().encode(VALUE)) == VALUE


def test_the_order_of_the_chain_may_change() -> None:
    assert PayloadConverter([Flip(), Deflate()]).decode(CHAIN.encode(VALUE)) == VALUE


def test_unwrapping_gives_the_readable_json() -> None:
    assert json.loads(CHAIN.unwrap(CHAIN.encode(VALUE))) == ["dict", VALUE]


def test_a_codec_that_is_not_there_is_named() -> None:
    with pytest.raises(PayloadError, match="needs the codec 'flip', which this application"):
        PayloadConverter([Deflate()]).decode(CHAIN.encode(VALUE))


def test_bytes_that_the_codec_did_not_make_are_an_error() -> None:
    damaged = b'{"codec": "deflate", "data": "AAAA"}'
    with pytest.raises(PayloadError, match="'deflate' cannot decode"):
        CHAIN.decode(damaged)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"{}",
        b'{"codec": "flip"}',
        b'{"codec": "flip", "data": "*"}',
        b'{"codec":[],"data":""}',
    ],
)
def test_a_damaged_envelope_is_an_error(data: bytes) -> None:
    with pytest.raises(PayloadError):
        CHAIN.decode(data)


def test_a_codec_that_fails_to_encode_is_a_payload_error() -> None:
    with pytest.raises(PayloadError, match=r"'broken' cannot encode.*no key"):
        PayloadConverter([Broken()]).encode(1)
