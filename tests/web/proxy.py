"""A proxy that serves a server's page and interface under a path of its own, as people put it behind a web server."""

import http.client
import http.server
import threading
import urllib.parse


class Proxy:
    """Forwards what lies under `path` to `base`; everything else is not found. On a free port of this machine."""

    def __init__(self, base, path):
        upstream = urllib.parse.urlsplit(base)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                if not self.path.startswith(path):
                    self.send_error(404)
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = http.client.HTTPConnection(upstream.hostname, upstream.port)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ("connection", "accept-encoding")}
                connection.request(self.command, "/" + self.path.removeprefix(path), body, headers)
                answer = connection.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length", "server", "date"):
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                # Piece by piece: answers are streams of events.
                while piece := answer.read1(65536):
                    self.wfile.write(piece)
                self.close_connection = True
                connection.close()

            do_GET = do_HEAD = do_POST = forward

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_address[1]}{path}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
