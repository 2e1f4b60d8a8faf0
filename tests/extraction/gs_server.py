"""A server of this machine's loopback that answers as much of Google's storage as a file system asks of it.

Objects with their conditions, ranges and listings, from https://cloud.google.com/storage/docs/json_api/v1/objects; no
package for Python has an emulator that refuses to write what is there already.
"""

import json
import re
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock, Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit


class Stored(NamedTuple):
    """One object."""

    content: bytes
    generation: int
    updated: str


class Server(ThreadingHTTPServer):
    """Serves buckets from memory, each in a thread of its own, until it is closed."""

    daemon_threads = True

    def __init__(self, *buckets: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.buckets: dict[str, dict[str, Stored]] = {name: {} for name in buckets}
        self.changing, self.generations = Lock(), count(1)
        Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Nothing: the client asks in two ways at once, and hangs up on the slower answer."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """A bucket, its objects, what is known of an object, or its content."""
        bucket, key, asked, media = self._read()
        there = self.server.buckets.get(bucket)
        if there is None or (key and key not in there):
            self._answer(404)
        elif key and media:
            self._send(there[key].content)
        elif key:
            self._answer(200, _about(key, there[key]))
        elif key is None:
            self._answer(200, {"name": bucket})
        else:
            self._answer(200, _listed(there, asked.get("prefix", ""), asked.get("delimiter", "")))

    def do_DELETE(self) -> None:
        """Remove an object."""
        bucket, key, _, _ = self._read()
        with self.server.changing:
            gone = self.server.buckets[bucket].pop(key or "", None)
        self._answer(404 if gone is None else 204)

    def do_POST(self) -> None:
        """Take an object, or give one another name."""
        bucket, key, asked, _ = self._read()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        there = self.server.buckets.get(bucket)
        if there is None:
            self._answer(404)
        elif key and "/moveTo/o/" in key:
            source, target = key.split("/moveTo/o/")
            with self.server.changing:
                there[target] = there.pop(source)
            self._answer(200, _about(target, there[target]))
        else:
            boundary = re.search(r'boundary="(.*)"', self.headers["Content-Type"])
            assert boundary is not None
            mark = b"--" + boundary[1].encode()
            head, rest = body.removeprefix(mark).split(b"\n" + mark, 1)
            name = json.loads(head.split(b"\n\n", 1)[1])["name"]
            content = rest.split(b"\n\n", 1)[1].removesuffix(b"\n" + mark + b"--")
            with self.server.changing:
                if asked.get("ifGenerationMatch") == "0" and name in there:
                    self._answer(412)
                    return
                now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                there[name] = Stored(content, next(self.server.generations), now)
            self._answer(200, _about(name, there[name]))

    def _read(self) -> tuple[str, str | None, dict[str, str], bool]:
        """Bucket; key, "" for all of them and None for the bucket itself; parameters; and whether it is for content."""
        address = urlsplit(self.path)
        found = re.fullmatch(r"(?:/(\w+))?/storage/v1/b/([^/]+)(?:/o(?:/(.*))?)?", address.path)
        assert found is not None, self.path
        listing = address.path.endswith("/o")
        key = unquote(found[3]) if found[3] else "" if listing else None
        return found[2], key, {name: values[0] for name, values in parse_qs(address.query).items()}, bool(found[1])

    def _send(self, content: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        assert wanted is not None
        part = content[int(wanted[1]) : int(wanted[2]) + 1 if wanted[2] else None]
        self._answer(206 if "Range" in self.headers else 200, part)

    def _answer(self, status: int, said: Any = b"") -> None:
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _about(key: str, stored: Stored) -> dict[str, Any]:
    return {"name": key, "size": str(len(stored.content)), "generation": str(stored.generation),
            "updated": stored.updated, "timeCreated": stored.updated}  # fmt: skip


def _listed(there: dict[str, Stored], prefix: str, delimiter: str) -> dict[str, Any]:
    items, prefixes = [], set[str]()
    for key in sorted(key for key in [*there] if key.startswith(prefix)):
        inner, cut, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else (key, "", "")
        if cut:
            prefixes.add(f"{prefix}{inner}{cut}")
        else:
            items.append(_about(key, there[key]))
    return {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}
