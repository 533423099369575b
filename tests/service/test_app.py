"""What the service answers: names, refusals, headers, counters. No sockets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image
from served import SlowEngine, colour_file, form, picture
from several_file import several_file
from starlette.testclient import TestClient

from tlaam.inference.answering import answer_by
from tlaam.inference.engine import load_engine
from tlaam.inference.looking import look_for
from tlaam.inference.prediction import Prediction
from tlaam.reference.index import LookAlike
from tlaam.service.app import create_app, resource
from tlaam.service.decoding import MAX_SCANS
from tlaam.service.guard import ROUTES
from tlaam.service.limits import Limits

SCHEMA = json.loads(resource("openapi.json"))
LIMITS = Limits(upload_bytes=100_000, pixels=1_000_000, images=4, queue=8)


@pytest.fixture(scope="module")
def client(colours: Path) -> Iterator[TestClient]:
    with TestClient(create_app(load_engine(colours), name="colours.onnx", limits=LIMITS)) as client:
        yield client


def ask(client: TestClient, body: bytes, kind: str = "image/png", query: str = "") -> Any:
    return client.post(f"/v1/predict{query}", content=body, headers={"Content-Type": kind})


def valid(answer: Any, path: str = "/v1/predict", method: str = "post") -> Any:
    """Return an answer's JSON, which is as the schema says for its status."""
    body = answer.json()
    response = SCHEMA["paths"][path][method]["responses"][str(answer.status_code)]
    (content,) = response["content"].values()
    jsonschema.Draft202012Validator({**content["schema"], "components": SCHEMA["components"]}).validate(body)
    assert all(name in answer.headers for name in response.get("headers", ()))
    return body


def test_a_picture_is_named_as_predict_names_it(client: TestClient, colours: Path, tmp_path: Path) -> None:
    (row,) = valid(ask(client, picture("green"), query="?top_k=2"))["results"]
    (tmp_path / "image").write_bytes(picture("green"))
    (expected,) = load_engine(colours).predict([tmp_path / "image"])
    assert row == expected.to_dict(2) | {"path": "image", "code": None, "size": [64, 48]}
    assert row["predictions"][0]["label"] == "green" and len(row["predictions"]) == 2
    assert row["object_box"] == [8.0, 12.0, 48.0, 42.0]


def test_several_objects_are_named_where_the_service_looks_for_them(tmp_path: Path) -> None:
    image = Image.new("RGB", (120, 60), "red")
    image.paste("blue", (60, 0, 120, 60))
    image.save(tmp_path / "image", "PNG")
    engine = load_engine(several_file(tmp_path / "several.onnx"))
    look_for(engine, "all")
    with TestClient(create_app(engine, name="several", limits=LIMITS)) as client:
        content = (tmp_path / "image").read_bytes()
        (row,) = valid(ask(client, content, query="?look_alikes=2"))["results"]
        assert [found.pop("look_alikes") for found in row["objects"]] == [[], []] == [row.pop("look_alikes")] * 2
        (expected,) = engine.predict([tmp_path / "image"])
        assert row == expected.to_dict() | {"path": "image", "code": None, "size": [120, 60]}
        assert [found["predictions"][0]["label"] for found in row["objects"]] == ["red", "blue"]


def test_an_answer_that_is_an_error_is_refused_alone(colours: Path) -> None:
    class Damaged(SlowEngine):
        def answer(self, batch: Any) -> Any:
            answers = super().answer(batch)
            fault = "its probabilities are not finite"
            return [replace(each, error=fault) if each.label == "red" else each for each in answers]

    with TestClient(create_app(Damaged(colours), name="colours", limits=LIMITS)) as client:
        body, kind = form({"a.png": picture("red"), "b.png": picture("green")})
        answer = ask(client, body, kind, "?look_alikes=2")
        first, second = valid(answer)["results"]
        assert (answer.status_code, first["code"], second["code"]) == (200, "failed", None)
        assert "not finite" in first["error"] and second["predictions"][0]["label"] == "green"
        alone = ask(client, picture("red"))
        assert alone.status_code == 500 and valid(alone)["error"]["code"] == "failed"


def test_the_heat_map_is_sent_when_it_is_asked_for(client: TestClient) -> None:
    (row,) = valid(ask(client, picture("blue"), query="?heatmap=1"))["results"]
    levels = row["heatmap"]
    assert len(levels) == len(levels[0]) == 32 and (levels[0][0], levels[31][31]) == (0.0, 1.0)


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/jpeg", ""])
def test_the_contents_count_not_the_type_that_is_claimed(client: TestClient, kind: str) -> None:
    assert valid(ask(client, picture("red"), kind))["results"][0]["predictions"][0]["label"] == "red"


def test_a_form_holds_several_and_one_that_fails_harms_no_other(client: TestClient) -> None:
    files = {
        "a.png": picture("red"),
        "<script>alert(1)</script>.png": b"no image",
        "c.jpg": picture("blue", kind="JPEG"),
    }
    answer = ask(client, *form(files))
    rows = valid(answer)["results"]
    assert answer.status_code == 200
    assert [row["path"] for row in rows] == list(files)
    assert [row["code"] for row in rows] == [None, "not_an_image", None]
    assert [row["predictions"][:1] and row["predictions"][0]["label"] for row in rows] == ["red", [], "blue"]


def pixels(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def many_scans() -> bytes:
    return picture("red", kind="JPEG")[:-2] + b"\xff\xda\x00\x02" * (MAX_SCANS + 1)


REFUSED = {
    "no image": (b"This is text.", "image/png", 422, "not_an_image"),
    "a script": (b"<script>alert(1)</script>", "image/svg+xml", 422, "not_an_image"),
    "a program for an interpreter": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/png", 422, "not_an_image"),
    "cut off": (picture("red", (300, 300), "JPEG")[:-900], "image/jpeg", 422, "corrupt"),
    "a damaged header": (picture("red")[:20], "image/png", 422, None),
    "nothing": (b"", "image/png", 422, "empty"),
    "too many bytes": (bytes(100_001), "image/png", 413, "too_large"),
    "too many bytes for any request": (bytes(400_000), "image/png", 413, "too_large"),
    "too many pixels": (pixels(1001, 1000), "image/png", 413, "too_many_pixels"),
    "far too many pixels": (pixels(20_000, 20_000), "image/png", 413, "too_many_pixels"),
    "too many scans": (many_scans(), "image/jpeg", 422, "corrupt"),
    "JSON": (b'{"image": ', "application/json", 415, "unsupported_media_type"),
    "a form without files": (b"image=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    "a type that is none": (b"x", "\x01;;;=", 415, "unsupported_media_type"),
    "too many images": (*form({f"{n}.png": picture("red") for n in range(5)}), 413, "too_many_images"),
    "a form of text": (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n', "multipart/form-data; boundary=b",
        422, "no_image",
    ),
    "an empty file": (*form({"a.png": b""}), 422, "empty"),
    "a large file in a form": (*form({"a.png": bytes(100_001)}), 413, "too_large"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(client: TestClient, case: str) -> None:
    body, kind, status, code = REFUSED[case]
    answer = ask(client, body, kind)
    said = valid(answer)["error"]
    assert (answer.status_code, said["code"]) == (status, code or said["code"])
    assert said["message"].endswith(".") and "Traceback" not in said["message"]


WHOLE = form({"a.png": b"x" * 50})[0]
MALFORMED = {
    "cut off": (WHOLE[:-30], "multipart/form-data; boundary=middle"),
    "cut off in its headers": (WHOLE[:40], "multipart/form-data; boundary=middle"),
    "no boundary": (WHOLE, "multipart/form-data"),
    "another boundary": (WHOLE, "multipart/form-data; boundary=other"),
    "a long boundary": (WHOLE, f"multipart/form-data; boundary={'b' * 300}"),
    "empty": (b"", "multipart/form-data; boundary=middle"),
    "rubbish": (bytes(range(256)) * 20, "multipart/form-data; boundary=middle"),
    "endless headers": (b"--middle\r\n" + b"X-Y: z\r\n" * 5000, "multipart/form-data; boundary=middle"),
    "an endless header": (b"--middle\r\nX: " + b"y" * 90_000, "multipart/form-data; boundary=middle"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_form_is_refused(client: TestClient, case: str) -> None:
    answer = ask(client, *MALFORMED[case])
    assert (answer.status_code, valid(answer)["error"]["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    "query", ["?top_k=0", "?top_k=x", "?top_k=-1", "?top_k=1e9", "?top_k=9999999999", "?heatmap=2"]
)
def test_a_wrong_parameter_is_refused(client: TestClient, query: str) -> None:
    answer = ask(client, picture("red"), query=query)
    assert (answer.status_code, valid(answer)["error"]["code"]) == (422, "bad_parameter")


def test_a_body_of_unknown_length_is_bounded(client: TestClient) -> None:
    answer = client.post("/v1/predict", content=(bytes(10_000) for _ in range(1000)))
    assert (answer.status_code, valid(answer)["error"]["code"]) == (413, "too_large")


def test_there_is_nothing_else(client: TestClient) -> None:
    for path in ("/", "/v1", "/v1/predict/", "/static/../app.py", "/etc/passwd", "/examples/0.jpg"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    answer = client.get("/v1/predict")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_what_it_says_of_itself(client: TestClient) -> None:
    model = valid(client.get("/v1/model"), "/v1/model", "get")
    assert (model["name"], model["classes"]) == ("colours.onnx", ["red", "green", "blue"])
    assert model["limits"]["upload_bytes"] == 100_000
    for path in ("/healthz", "/readyz"):
        answer = client.get(path)
        assert answer.status_code == 200 and valid(answer, path, "get")
    assert client.get("/openapi.json").json() == SCHEMA


def test_every_answer_forbids_scripts(client: TestClient) -> None:
    for answer in (client.get("/v1/model"), client.get("/nothing"), ask(client, b"x")):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"


def test_it_counts(client: TestClient) -> None:
    def value(name: str) -> float:
        (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE) or ["0"]
        return float(found)

    names = [
        'tlaam_images_total{outcome="answered"}',
        'tlaam_images_total{outcome="corrupt"}',
        'tlaam_requests_total{route="/v1/predict",status="422"}',
        "tlaam_batch_images_sum",
    ]
    before = [value(name) for name in names]
    ask(client, picture("red"))
    ask(client, *REFUSED["cut off"][:2])
    for number in range(20):
        client.get(f"/{number}")
    assert [value(name) - was for name, was in zip(names, before, strict=True)] == [1, 1, 1, 1]
    assert (value("tlaam_waiting_images"), value("tlaam_held_bytes")) == (0, 0)
    assert set(re.findall(r'route="([^"]*)"', client.get("/metrics").text)) <= ROUTES | {"other"}


def test_only_its_own_names_are_answered(colours: Path) -> None:
    app = create_app(load_engine(colours), hosts={"localhost", "127.0.0.1", "::1"})
    with TestClient(app) as client:
        for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "LOCALHOST"):
            assert client.get("/v1/model", headers={"Host": host}).status_code == 200
        for host in ("example.org", "localhost.example.org", "127.0.0.1.example.org:8000", ""):
            assert client.get("/v1/model", headers={"Host": host}).status_code == 421


def test_names_are_data(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", '"; DROP TABLE x; --', "broken \ud800 text"]
    with TestClient(create_app(load_engine(colour_file(tmp_path / "names.onnx", names)))) as client:
        answer = ask(client, picture("red"))
        labels = {row["label"] for row in json.loads(answer.content)["results"][0]["predictions"]}
        assert labels == set(names) and client.get("/v1/model").json()["classes"] == names


def test_a_model_that_fails_is_not_the_clients_fault(predictor: SlowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(batch: object) -> object:
        raise RuntimeError("/secret/path")

    with TestClient(create_app(predictor), raise_server_exceptions=False) as client:
        monkeypatch.setattr(predictor, "answer", broken)
        answer = ask(client, picture("red"))
        assert (answer.status_code, valid(answer)["error"]["code"]) == (500, "failed") and "secret" not in answer.text
        monkeypatch.undo()
        assert ask(client, picture("red")).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(predictor: SlowEngine) -> None:
    predictor.seconds = 0.4
    with TestClient(create_app(predictor, limits=Limits(answer_seconds=0.05))) as client:
        answer = ask(client, picture("red"))
        assert (answer.status_code, valid(answer)["error"]["code"]) == (503, "busy")
        assert int(answer.headers["Retry-After"]) >= 1


def test_uploads_that_find_no_memory_are_refused(predictor: SlowEngine) -> None:
    with TestClient(create_app(predictor, limits=Limits(memory=1000))) as client:
        answer = ask(client, picture("red", (400, 400), "BMP"))
        assert (answer.status_code, valid(answer)["error"]["code"]) == (503, "busy")
        assert ask(client, picture("red")).status_code == 200


def test_look_alikes_come_where_they_are_asked_for(predictor: SlowEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def look_alikes(_prediction: Prediction, k: int) -> list[LookAlike]:
        asked.append(k)
        return [LookAlike("red", 0.91234, "red/1.jpg", b"jpeg"), LookAlike("blue", 0.5, "blue/2.jpg", None)]

    monkeypatch.setattr(predictor, "look_alikes", look_alikes)
    with TestClient(create_app(predictor)) as client:
        (plain,) = valid(ask(client, picture("red")))["results"]
        assert "look_alikes" not in plain and not asked
        (row,) = valid(client.post("/v1/predict?look_alikes=2", content=picture("red")))["results"]
        assert valid(client.post("/v1/predict?look_alikes=21", content=picture("red")))["error"]["code"]
    assert asked == [2]
    assert row["look_alikes"] == [
        {"label": "red", "similarity": 0.9123, "thumbnail": "data:image/jpeg;base64,anBlZw=="},
        {"label": "blue", "similarity": 0.5, "thumbnail": None},
    ]


def test_what_an_answer_is_worth_is_in_the_row(predictor: SlowEngine) -> None:
    with TestClient(create_app(predictor)) as client:
        (row,) = valid(ask(client, picture("red")))["results"]
    assert row["confidence"] is None and row["familiarity"] is None  # this model came without anything to judge by


def test_what_does_not_live_there_is_said(colours: Path) -> None:
    engine = load_engine(colours)
    answer_by(engine, only=["red", "green"])
    with TestClient(create_app(engine, name="colours.onnx", limits=LIMITS)) as client:
        (away,) = valid(ask(client, picture("blue")))["results"]
        (here,) = valid(ask(client, picture("green")))["results"]
    assert away["outside"]["label"] == "blue" and away["outside"]["probability"] > 0.5
    assert away["predictions"][0]["label"] != "blue"
    assert "outside" not in here and here["predictions"][0]["label"] == "green"
