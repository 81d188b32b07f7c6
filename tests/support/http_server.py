#!/usr/bin/env python3
"""A file server on 127.0.0.1 that can also behave badly, for the tests of downloads.

    http_server.py FOLDER

Prints the port it took, then one line per request: mode, path, Range header or "-". The first part of an address is
the mode, the rest the file below FOLDER:

    /plain/x      the file; Range is honoured
    /norange/x    the whole file whatever is asked for
    /cut/x        every answer ends after at most 1000 bytes of body, though more was announced
    /busy/x       503 to the first two requests for x
    /dead/x       always 503
    /flip/x       the file with its last byte changed
    /fliponce/x   as flip, for the first request only
    /redirect/x   302 to /plain/x
    /loop/x       302 to itself
    /hash/x       with its MD5 in an x-goog-hash header
    /badhash/x    with a wrong one
    /slow/x       10 kB, then 20 ms of silence, and so on
"""
import base64
import collections
import hashlib
import http.server
import os
import re
import sys
import time

seen = collections.Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def refuse(self, code, location=None):
        body = b"<html>an explanation that must not end up in a file</html>"
        self.send_response(code)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        _, mode, name = self.path.split("/", 2)
        asked = self.headers.get("Range")
        print(mode, name, asked or "-", flush=True)
        seen[self.path] += 1
        path = os.path.join(sys.argv[1], name)
        if mode == "redirect":
            return self.refuse(302, "/plain/" + name)
        if mode == "loop":
            return self.refuse(302, self.path)
        if mode == "dead" or (mode == "busy" and seen[self.path] <= 2):
            return self.refuse(503)
        if not os.path.isfile(path):
            return self.refuse(404)
        with open(path, "rb") as stream:
            data = stream.read()
        digest = hashlib.md5(data).digest()
        if mode == "flip" or (mode == "fliponce" and seen[self.path] == 1):
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = 0
        match = re.fullmatch(r"bytes=(\d+)-", asked or "")
        if match and mode != "norange":
            start = int(match.group(1))
            if start >= len(data):
                return self.refuse(416)
        self.send_response(206 if match and mode != "norange" else 200)
        if match and mode != "norange":
            self.send_header("Content-Range", "bytes %d-%d/%d" % (start, len(data) - 1, len(data)))
        if mode in ("hash", "badhash"):
            value = digest if mode == "hash" else bytes(16)
            self.send_header("x-goog-hash", "crc32c=AAAAAA==")
            self.send_header("x-goog-hash", "md5=" + base64.b64encode(value).decode())
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        try:
            if mode == "cut" and len(body) > 1000:
                self.wfile.write(body[:1000])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
            elif mode == "slow":
                for at in range(0, len(body), 10000):
                    self.wfile.write(body[at : at + 10000])
                    self.wfile.flush()
                    time.sleep(0.02)
            else:
                self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client has gone away


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *arguments: None  # clients that are killed, on purpose
    print(server.server_port, flush=True)
    server.serve_forever()
