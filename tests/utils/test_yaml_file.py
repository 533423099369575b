"""Settings in YAML: what a file may hold, whatever it holds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as some

from tlaam.cli.main import main
from tlaam.config.schema import Config
from tlaam.errors import ConfigError

_UNFOLDING = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(f'*{chr(97 + n)}' for _ in range(9))}]\n" for n in range(12)
)


def refusal(content: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.yaml"
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            Config.from_yaml(path)
        assert str(path) in str(caught.value) and len(str(caught.value)) < 4000
        return str(caught.value)


@pytest.mark.parametrize(("text", "message"), [
    ("epochs: 2001-99-99", "holds a value that cannot be"),
    ("epochs: !!int x", "holds a value that cannot be"),
    ("epochs: !!timestamp x", "holds a value that cannot be"),
    ("epochs: " + "9" * 5000, "holds a value that cannot be"),
    ("epochs: " + "[" * 20_000, "nested too deeply"),
    ("epochs: &a [*a]", "stands for more than 100,000 values"),
    (_UNFOLDING + "epochs: *m", "stands for more than 100,000 values"),
    ("epochs: " + "9" * 4000, "Input should be less than or equal to 2147483647"),
    ("epochs: [" + "x, " * 20_000 + "]", "epochs = ['x', 'x', 'x', 'x', 'x', 'x', ...]"),
    ("part_windows: [" + "x, " * 20_000 + "]", "part_windows = 'x'"),
    ("model: " + "x" * 100_000, "section 'model' holds"),
    ("epochz: 3", "there is no option 'epochz'. Did you mean 'epochs'?"),
    ("# " + "x" * (2 << 20), "more than 1,048,576"),
    ("epochs: !!python/name:os.system", "is not YAML"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line_that_names_the_file(text: str, message: str) -> None:
    assert message in refusal(text.encode())


def test_the_command_names_the_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("epochz: 3\n")
    assert main(["train", str(tmp_path), "--config", str(path)]) == 1
    assert f"tlaam: {path}: there is no option 'epochz'" in capsys.readouterr().err


@settings(max_examples=200, deadline=None)
@given(
    content=some.one_of(
        some.binary(max_size=80), some.text(alphabet="ae: -[]{}&*!|>'\"#\n0129.%@,?~<", max_size=60).map(str.encode)
    )
)
def test_any_bytes_are_settings_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.yaml"
        path.write_bytes(content)
        try:
            Config.from_yaml(path)
        except ConfigError as error:
            assert str(path) in str(error)


@settings(max_examples=60, deadline=None)
@given(
    epochs=some.integers(1, 10**6), lr=some.floats(0, 1e6, allow_nan=False), seed=some.integers(0, 2**31),
    flip=some.booleans(),
)  # fmt: skip
def test_what_is_written_is_what_is_read(epochs: int, lr: float, seed: int, flip: bool) -> None:
    given_options = {"epochs": epochs, "lr": lr, "seed": seed, "flip": flip}
    config = Config.from_flat(given_options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.yaml"
        path.write_text(yaml.safe_dump(config.to_nested()))
        assert Config.from_yaml(path) == config
