"""A server of archives for tests that misbehaves in the way that is asked of it."""

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator

from minitransfer.apparatus.mirrors import Archive

CONTENT = bytes(range(256)) * 1201 + b"an odd end"
NAME = "corpus.zip"


class Mirror(http.server.BaseHTTPRequestHandler):
    """A server whose fault is the first part of the path asked for; it remembers the headers of each request."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers["Range"], self.headers["User-Agent"]))
        fault = self.path.split("/")[1]
        getattr(self, f"fault_{fault}")(*self.span())

    def log_message(self, *_):
        pass

    def span(self):
        asked = self.headers["Range"]
        return (int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0), bool(asked)

    def head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def give(self, start, ranged, body=None, total=len(CONTENT)):
        if ranged:
            self.head(206, Content_Range=f"bytes {start}-{total - 1}/{total}", Content_Length=total - start)
        else:
            self.head(200, Content_Length=total)
        self.wfile.write(CONTENT[start:] if body is None else body)

    def fault_none(self, start, ranged):
        self.give(start, ranged)

    def fault_missing(self, start, ranged):
        self.send_error(404)

    def fault_overloaded(self, start, ranged):
        self.send_error(503)

    def fault_agent(self, start, ranged):
        if self.headers["User-Agent"].startswith("Python-urllib"):
            return self.send_error(403)
        self.give(start, ranged)

    def fault_truncates(self, start, ranged):
        """Gives 100,001 bytes at a time, then closes the connection; resumes honestly."""
        self.give(start, ranged, CONTENT[start:start + 100_001])

    def fault_stalls(self, start, ranged):
        """Gives some bytes, then none; honest when asked again."""
        if ranged:
            return self.give(start, ranged)
        self.give(0, False, CONTENT[:77_777])
        self.wfile.flush()
        self.server.over.wait(5)

    def fault_lies(self, start, ranged):
        self.give(start, ranged, bytes(len(CONTENT) - start))

    def fault_html(self, start, ranged):
        self.head(200, Content_Type="text/html; charset=utf-8")
        self.wfile.write(b"<html>please sign in to the hotel network</html>")

    def fault_size(self, start, ranged):
        self.head(200, Content_Length=19)
        self.wfile.write(b"nothing of the sort")

    def fault_endless(self, start, ranged):
        """Announces no length, and sends more than the archive has."""
        self.head(200, Connection="close")
        self.wfile.write(CONTENT + bytes(500_000))

    def fault_noresume(self, start, ranged):
        self.give(0, False)

    def fault_wrongrange(self, start, ranged):
        if ranged:
            self.head(206, Content_Range=f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}", Content_Length=len(CONTENT))
            self.wfile.write(CONTENT)
        else:
            self.give(0, False)

    def fault_unasked(self, start, ranged):
        """Gives the end of the archive, whatever it is asked for."""
        self.give(1000, True)

    def fault_unsatisfiable(self, start, ranged):
        self.send_error(416) if ranged else self.give(0, False)

    def fault_elsewhere(self, start, ranged):
        self.head(302, Location="file:///etc/passwd")

    def fault_nonsense(self, start, ranged):
        self.head(302, Location="http://[broken/")

    def fault_digits(self, start, ranged):
        self.head(200, Content_Length="9" * 5000)


@contextlib.contextmanager
def running() -> Iterator[Callable[..., Archive]]:
    """Run a server; gives a function that makes an archive with an address for each fault named to it.

    The function's `asked` lists the (path, range, user agent) of every request so far.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.daemon_threads, server.block_on_close = True, False
    server.handle_error = lambda *_: None  # a client that hangs up on purpose is no news
    server.asked, server.over = [], threading.Event()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def archive(*faults: str, sha256: str = hashlib.sha256(CONTENT).hexdigest()) -> Archive:
        base = f"http://127.0.0.1:{server.server_address[1]}"
        return Archive(NAME, len(CONTENT), sha256, tuple(f"{base}/{fault}/{NAME}" for fault in faults))

    archive.asked = server.asked
    try:
        yield archive
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
