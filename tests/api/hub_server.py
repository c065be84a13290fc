"""A server on this machine that speaks the few endpoints of the Hugging Face hub that uploads and downloads need.

What is uploaded is kept in memory. Small files come within the commit, `.safetensors` by way of LFS. Writing needs the
token `secret`; a repository whose name ends with `-private` needs it for reading as well.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "secret"


@dataclass
class Hub:
    """What the server holds: by repository, commits in order, each with all files by path."""

    commits: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes] | None:
        for name, files in reversed(self.commits[repository]):
            if revision in ("main", name):
                return files
        return None


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, content: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def say(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, X_Error_Code=code, X_Error_Message=code)

    @property
    def allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def read(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repository = "/".join(parts[2:4] if api else parts[:2])
        if repository not in self.hub.commits or (repository.endswith("-private") and not self.allowed):
            return self.refuse(401, "RepoNotFound")
        commits, rest = self.hub.commits[repository], parts[4:] if api else parts[2:]
        files = self.hub.files(repository, rest[1] if rest else "main")
        if files is None:
            return self.refuse(404, "RevisionNotFound")
        sha = next(name for name, held in commits if held is files)
        if not rest or rest[0] == "revision":
            return self.say({"id": repository, "sha": sha, "siblings": [{"rfilename": name} for name in files]})
        if rest[0] == "tree":
            return self.say(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in files.items()
                ]
            )
        content = files.get("/".join(rest[2:]))
        if content is None:
            return self.refuse(404, "EntryNotFound")
        return self.answer(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=sha)

    do_GET = do_HEAD = read

    def do_PUT(self) -> None:
        content = self.body()
        self.hub.requests.append("PUT object")
        self.hub.objects[hashlib.sha256(content).hexdigest()] = content
        self.answer(200)

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"POST {path}")
        body = self.body()
        if not self.allowed:
            return self.refuse(401, "Unauthorized")
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":
            return self.say({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            given = json.loads(body)
            repository = f"{given.get('organization') or 'me'}/{given['name']}"
            self.hub.commits.setdefault(repository, [("0" * 40, {})])
            return self.say({"url": f"{self.hub.url}/{repository}"})
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            actions = {"upload": {"href": f"{self.hub.url}/object"}}
            return self.say({"objects": [{**one, "actions": actions} for one in objects], "transfer": "basic"})
        repository = "/".join(parts[2:4])
        if parts[4] == "preupload":
            names = [one["path"] for one in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            files = [{"path": name, "uploadMode": mode, "shouldIgnore": False} for name, mode in modes.items()]
            return self.say({"files": files})
        assert parts[4] == "commit", path
        return self.commit(repository, body)

    def commit(self, repository: str, body: bytes) -> None:
        files = dict(self.hub.files(repository) or {})
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
        name = hashlib.sha1(body).hexdigest()
        self.hub.commits[repository].append((name, files))
        url = f"{self.hub.url}/{repository}/commit/{name}"
        self.say({"success": True, "commitOid": name, "commitUrl": url})


def serve() -> tuple[Hub, ThreadingHTTPServer]:
    """A hub that listens on a free port."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True).start()
    return hub, server
