"""Downloads from a local server that can break off, lie and count requests."""

import errno
import hashlib
import io
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from kerasep import download
from kerasep.download import fetch
from kerasep.errors import KerasepError

BODY = np.random.default_rng(0).bytes(100_000)
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()


class Site(ThreadingHTTPServer):
    """Serves `body` under every name, as its fields say."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/weights.bin"
        self.body = BODY
        self.ranges = True  # answer 206 where a range is asked for
        self.breaks: list[int] = []  # bytes after which each answer breaks off; the last one repeats
        self.announced: int | None = 0  # bytes announced but not sent; None: no length announced
        self.status = 200
        self.location: str | None = None
        self.drip = ""  # "headers" or "body": all that comes, a byte at a time, without end
        self.done = threading.Event()  # ends it
        self.gate: threading.Event | None = None  # opened to let the bodies through
        self.asked = threading.Event()
        self.ranges_seen: list[str | None] = []
        self.sent: list[int] = []  # bytes of each answer's body

    def handle_error(self, *_) -> None:
        """Clients hang up on purpose here."""


class Answer(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        site, asked = self.server, self.headers["Range"]
        site.ranges_seen.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and site.ranges else 0
        status = 302 if site.location and self.path == "/weights.bin" else site.status
        if status == 200 and start:
            status = 206 if start < len(site.body) else 416
        body = b"an answer without the file" if status > 299 else site.body[start:]
        if site.drip:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X: " if site.drip == "headers" else b"Content-Length: 99999\r\n\r\n"))
            while not site.done.wait(0.005):
                self.wfile.write(b"x")
            return
        self.send_response(status)
        if site.announced is not None:
            self.send_header("Content-Length", str(len(body) + site.announced))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(site.body) - 1}/{len(site.body)}")
        if status == 302:
            self.send_header("Location", site.location)
        self.end_headers()
        if status < 300 and site.breaks:
            body = body[: site.breaks.pop(0) if len(site.breaks) > 1 else site.breaks[0]]
        site.asked.set()
        if site.gate:
            site.gate.wait(60)
        site.sent.append(len(body))
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "CHUNK", 1000)  # breaks below come after whole chunks
    with Site() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.done.set()
        server.shutdown()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "cache" / "weights.bin"


def with_part(path: Path, content: bytes) -> Path:
    path.parent.mkdir()
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    return part


def refused(url: str, path: Path, digest: str = DIGEST) -> str:
    """The message of the error that this call must raise."""
    with pytest.raises(KerasepError) as caught:
        fetch(url, path, digest)
    message = str(caught.value)
    assert message.isprintable()  # thus one line
    assert not path.exists()
    return message


def left(path: Path) -> set[str]:
    """Other files in the folder; the empty lock file stays."""
    return {file.name for file in path.parent.iterdir()} - {path.name, f"{path.name}.lock"}


@pytest.mark.parametrize(
    "digest",
    [DIGEST, DIGEST.upper().replace("SHA", "sha"), DIGEST[:15], "sha512:" + hashlib.sha512(BODY).hexdigest()],
    ids=["sha256", "capitals", "prefix", "sha512"],
)
def test_downloads_once(site, path, digest, capsys):
    for _ in range(2):
        assert fetch(site.url, path, digest) == path
        assert path.read_bytes() == BODY
    assert site.ranges_seen == [None]
    assert not left(path)
    assert capsys.readouterr() == ("", "")  # no bar where nobody watches, and no log


def test_empty_file(site, path):
    site.body = b""
    assert fetch(site.url, path, "sha256:" + hashlib.sha256().hexdigest()).read_bytes() == b""


def test_unannounced_length(site, path):
    site.announced = None
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY


def test_damaged_file_in_the_cache_is_replaced(site, path):
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY


def test_resumes_a_part(site, path):
    part = with_part(path, BODY[:60_000])
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY
    assert site.ranges_seen == ["bytes=60000-"]
    assert site.sent == [40_000]
    assert not part.exists() and not left(path)


def test_server_without_ranges_starts_over(site, path):
    site.ranges = False
    with_part(path, BODY[:60_000])
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY
    assert site.sent == [len(BODY)]


@pytest.mark.parametrize("part", [BODY, bytes(100_000), bytes(100_001)], ids=["whole", "as long", "longer"])
def test_part_that_cannot_be_resumed_starts_over(site, path, part):
    with_part(path, part)
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY
    assert site.ranges_seen == [f"bytes={len(part)}-", None]
    assert not left(path)


def test_part_of_another_version_is_dropped(site, path):
    with_part(path, b"another version")
    assert "is not the published one: try again" in refused(site.url, path)
    assert not left(path)
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY


def test_broken_connections_are_resumed(site, path):
    site.breaks = [30_000, 50_000, len(BODY)]
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY
    assert site.ranges_seen == [None, "bytes=30000-", "bytes=80000-"]
    assert sum(site.sent) == len(BODY)


def test_gives_up_when_nothing_more_comes(site, path):
    site.breaks = [30_000, 0]
    message = refused(site.url, path)
    assert f"{site.url}: broke off after 30,000 bytes" in message and "run it again to resume" in message
    assert len(site.ranges_seen) == 2
    site.breaks = []
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY
    assert site.ranges_seen[2:] == ["bytes=30000-"]


def test_gives_up_after_retries(site, path):
    site.breaks = [1000]
    assert "broke off after 6,000 bytes" in refused(site.url, path)
    assert len(site.sent) == 1 + download.RETRIES
    assert left(path) == {"weights.bin.part"}


def test_server_that_sends_nothing(site, path):
    site.breaks = [0]
    assert "cannot be downloaded (no valid answer: IncompleteRead)" in refused(site.url, path)
    assert len(site.sent) == 1


@pytest.mark.parametrize(
    ("digest", "algorithm"),
    [
        (DIGEST, "sha256"),
        (DIGEST[:14] + ("0" if DIGEST[14] != "0" else "1"), "sha256"),
        (f"sha512:{0:0128}", "sha512"),
    ],
    ids=["sha256", "prefix", "sha512"],
)
@pytest.mark.parametrize("part", [b"", BODY[:60_000]], ids=["fresh", "resumed"])
def test_wrong_digest_leaves_nothing(site, path, part, digest, algorithm):
    site.body = BODY[:-1] + b"?"
    with_part(path, part)
    assert refused(site.url, path, digest).startswith(f"{site.url}: its {algorithm} is not the published one: try again")
    assert not left(path)


@pytest.mark.parametrize("part", [b"", BODY[:60_000]], ids=["fresh", "resumed"])
@pytest.mark.parametrize("announced", [0, None])
def test_too_large(site, path, monkeypatch, announced, part):
    monkeypatch.setattr(download, "LIMIT", len(BODY) - 1)
    site.announced = announced
    with_part(path, part)
    assert "not downloaded, as it is larger than 99,999 bytes" in refused(site.url, path)
    assert not left(path)


@pytest.mark.parametrize("status", [404, 500, 204, 304])
def test_other_answers(site, path, status):
    site.status = status
    assert f"{site.url}: cannot be downloaded (HTTP {status}): try later" in refused(site.url, path)
    assert not left(path)


def test_unavailable_server_keeps_the_part(site, path):
    site.status = 503
    with_part(path, BODY[:60_000])
    refused(site.url, path)
    assert left(path) == {"weights.bin.part"}


def test_redirect_is_followed(site, path):
    site.location = "/elsewhere?name=../../evil"
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY
    assert not left(path)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://example.org/", "http://example.org/: not downloaded, as it is not https"),
        ("http://127.0.0.1@example.org/", "not downloaded, as it is not https"),
        ("file:///etc/passwd", "cannot be downloaded (no valid answer: InvalidSchema)"),
        ("ftp://127.0.0.1/", "cannot be downloaded (no valid answer: InvalidSchema)"),
        ("/weights.bin", "cannot be downloaded (no valid answer: TooManyRedirects)"),
        ("http://[\x1b[31m", "cannot be downloaded (no valid answer: "),
    ],
)
def test_redirects_that_are_refused(site, path, location, reason):
    site.location = location
    assert reason in refused(site.url, path)
    assert not left(path)


@pytest.mark.parametrize(
    "url",
    ["http://example.org/a", "file:///etc/passwd", "ftp://127.0.0.1/a", "http://127.0.0.1@example.org/", "a", "https://["],
)
def test_unsafe_addresses_are_refused(path, url):
    assert f"{url}: not downloaded, as it is not https" in refused(url, path)
    assert not path.parent.exists()


@pytest.mark.parametrize("digest", ["", "sha256:", DIGEST[:14], DIGEST + "0", "md5:" + 32 * "0", "sha512:" + 8 * "0"])
def test_invalid_digests(site, path, digest):
    assert "is not a digest" in refused(site.url, path, digest)
    assert not site.ranges_seen


def test_no_server(path):
    with Site() as site:
        url = site.url
    assert f"{url}: cannot be downloaded (Connection refused): check the connection" in refused(url, path)


def test_server_without_http(site, path, monkeypatch):
    monkeypatch.setattr(Answer, "do_GET", lambda self: self.wfile.write(b"\x1b[31mhello\r\n\r\n"))
    assert "cannot be downloaded (no valid answer: BadStatusLine)" in refused(site.url, path)


def test_timeout(site, path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    site.gate = threading.Event()
    assert "cannot be downloaded (timed out)" in refused(site.url, path)
    site.gate.set()


@pytest.mark.parametrize("drip", ["headers", "body"])
@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"WINDOW": 0.1, "LEAST": 1000}, "fewer than 1,000 bytes in 0.1 s"), ({"DEADLINE": 0.1}, "it takes more than")],
    ids=["rate", "deadline"],
)
def test_a_server_that_drips_is_given_up(site, path, monkeypatch, drip, limits, reason):
    site.drip = drip
    monkeypatch.setattr(download, "CHUNK", 1)
    for name, value in limits.items():
        monkeypatch.setattr(download, name, value)
    message = refused(site.url, path)
    assert f"{site.url}: given up after " in message and reason in message and "run it again to resume" in message
    part = path.with_name("weights.bin.part")
    size = part.stat().st_size if part.exists() else 0
    site.done.wait(0.05)  # what still comes is not written
    assert (part.stat().st_size if part.exists() else 0) == size


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_gets_its_room_back(site, path, monkeypatch, number):
    class Full(io.FileIO):
        def write(self, _):
            raise OSError(number, "No room")

    with_part(path, BODY[:60_000])
    monkeypatch.setattr(Path, "open", lambda part, mode: Full(part, mode))
    message = refused(site.url, path)
    assert message.startswith(f"{path.parent}: cannot be written (No room): set XDG_CACHE_HOME")
    assert not left(path)


def test_folder_that_cannot_be_made(site, tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "kerasep"
    assert f"{folder}: cannot be written (Not a directory): set XDG_CACHE_HOME" in refused(site.url, folder / "weights.bin")
    assert not site.ranges_seen


def test_folder_that_cannot_be_written_to(site, path, monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(download, "FileLock", denied)  # root may write everywhere
    assert f"{path.parent}: cannot be written (Permission denied)" in refused(site.url, path)
    assert not site.ranges_seen


def test_interrupt_keeps_the_part(site, path, monkeypatch):
    class Interrupted(download.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "tqdm", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(site.url, path, DIGEST)
    assert not path.exists() and left(path) == {"weights.bin.part"}
    part = path.with_name("weights.bin.part")
    assert part.read_bytes() == BODY[:1000]
    assert fetch(site.url, path, DIGEST).read_bytes() == BODY
    assert site.ranges_seen == [None, "bytes=1000-"]


def test_processes_download_once(site, path):
    site.gate = threading.Event()
    program = "import sys; from pathlib import Path; from kerasep.download import fetch; print('ready', flush=True); input(); "
    program += "print(fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3]).stat().st_size)"
    command = [sys.executable, "-c", program, site.url, str(path), DIGEST]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert site.asked.wait(60)
    site.gate.set()
    for process in processes:
        assert process.communicate(timeout=60)[0] == f"{len(BODY)}\n"
        assert process.returncode == 0
    assert site.ranges_seen == [None]
    assert path.read_bytes() == BODY
    assert not left(path)


def test_waiting_for_a_download_that_fails(site, path):
    site.gate = threading.Event()
    site.body = b"tampered"
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetch, site.url, path, DIGEST)
        assert site.asked.wait(60)
        second = pool.submit(fetch, site.url, path, DIGEST)
        site.gate.set()
        assert all(isinstance(call.exception(60), KerasepError) for call in (first, second))
        site.body = BODY
        assert pool.submit(fetch, site.url, path, DIGEST).result(60).read_bytes() == BODY
    assert not left(path)
