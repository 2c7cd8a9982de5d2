# Serves the git repositories below a folder over HTTP, by `git http-backend`: git_http.py ADDRESS PORT FOLDER
# The Common Gateway Interface (RFC 3875) as far as that needs it; Python's own passes neither protocol nor encoding on.
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Git(BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        request = {
            "GIT_PROJECT_ROOT": sys.argv[3],
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        backend = ["git", "-c", "safe.directory=*", "http-backend"]
        out = subprocess.run(backend, input=body, stdout=subprocess.PIPE, env={**os.environ, **request}).stdout
        head, _, content = out.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        status = next((int(value.split()[0]) for name, value in fields if name == "Status"), 200)
        self.send_response(status)
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Git).serve_forever()
