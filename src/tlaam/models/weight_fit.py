"""Find a network's weights in a checkpoint: the right dictionary, the right prefix, and the best of several sets."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from tlaam.errors import ModelError

_AVERAGED = re.compile(r"(^|[._])(ema|swa)|(ema|swa)($|[._])|teacher|shadow|averag", re.IGNORECASE)
_FOLLOWING = re.compile(r"momentum|encoder_k|target", re.IGNORECASE)
_CLASSIFIER = re.compile(r"(^|\.)(_?fc\d?|head|heads|head_dist|classif|classifier|last_linear|linear|logits)\.")
_NORMS = ("norm", "fc_norm", "head.norm")
"""Names of the last norm among the members of one family and in their authors' weight files."""
_DEPTH = 5
_CONVERTED = 12
"""Number of the largest sets of tensors on which timm's conversions are tried."""


class Fitted(NamedTuple):
    """Weights under timm's names, and a one-line description of where they were found and what was left out."""

    state: dict[str, Tensor]
    line: str


class _Choice(NamedTuple):
    place: tuple[str, ...]
    prefix: str
    state: dict[str, Tensor]

    @property
    def where(self) -> str:
        return ".".join((*self.place, self.prefix)).strip(".")

    @property
    def rank(self) -> int:
        """Averaged weights come first, as in timm: they are the ones evaluated; momentum encoders come last."""
        return 0 if _AVERAGED.search(self.where) else 2 if _FOLLOWING.search(self.where) else 1


def fit_weights(
    loaded: Any, wanted: Mapping[str, Tensor], optional: Collection[str], make_network: Callable[[], nn.Module]
) -> Fitted:
    """Choose the weights in a file that fit the network.

    If several sets fit equally well, such as averaged and plain weights, the averaged ones are used. Names are
    converted to timm's, and position embeddings to the input size, by the functions that timm converts its own
    downloads with.

    Args:
        loaded: the result of `tlaam.models.weight_file.read_weights`.
        wanted: the network's tensors by timm's names.
        optional: names of tensors that may be absent, since the network creates them itself.
        make_network: creates the whole network, which timm's conversion inspects.

    Raises:
        ModelError: there is no set of tensors, or some tensors are absent, have another shape or are not finite. The
            message begins with a verb, so that the file's name can be put before it.
    """
    choices = [*_choices(loaded, wanted)]
    if not choices:
        raise ModelError("holds no state dict of tensors.")
    direct = [(choice, _fitting(choice.state, wanted)) for choice in choices]
    best, state = min(direct, key=lambda pair: (-len(pair[1]), pair[0].rank))
    missing = [name for name in wanted if name not in state and name not in optional]
    if missing:
        with torch.random.fork_rng(devices=[]):
            network = make_network()
        largest = sorted(choices, key=lambda choice: -len(choice.state))[:_CONVERTED]
        converted = [(choice, _fitting(_converted(choice.state, network, wanted), wanted)) for choice in largest]
        best, state = min([*direct, *converted], key=lambda pair: (-len(pair[1]), pair[0].rank))
        missing = [name for name in wanted if name not in state and name not in optional]
    if missing:
        ours = isinstance(loaded, dict) and any(str(name).startswith("backbone.network.") for name in loaded)
        hint = " A model of tlaam is continued by --from." if ours else ""
        raise ModelError(_misfit(missing, best.state, wanted, len(wanted) - len(optional)) + hint)
    learnt = {name: value for name, value in state.items() if name not in optional and value.is_floating_point()}
    if broken := [name for name, value in learnt.items() if not value.isfinite().all()]:
        raise ModelError(f"holds {len(broken)} tensors that are not finite, first {broken[0]}; that training diverged.")
    others = [other for other, fits in direct if other is not best and len(fits) >= len(wanted) / 2]
    return Fitted(state, _described(best, state, others))


def _choices(loaded: Any, wanted: Mapping[str, Tensor]) -> Iterator[_Choice]:
    """Yield the candidate sets of tensors: each dictionary, with each prefix that leads to wanted names."""
    for place, tensors in _dictionaries(loaded, (), 0):
        prefixes: Counter[str] = Counter()
        for name in tensors:
            parts = name.split(".")
            for start in range(len(parts)):
                if ".".join(parts[start:]) in wanted:
                    prefixes["".join(f"{part}." for part in parts[:start])] += 1
        most = max(prefixes.values(), default=0)
        chosen = [prefix for prefix, count in prefixes.items() if 2 * count >= most]
        common = _common_wrapper(tensors)
        for prefix in dict.fromkeys([*chosen[:8], common, ""]):
            state = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
            yield _Choice(place, prefix, state)


def _common_wrapper(tensors: Mapping[str, Tensor]) -> str:
    """Return the prefix that all names share: the wrappers of parallel training and of compilation."""
    wrapper = ""
    while True:
        firsts = {name[len(wrapper) :].partition(".")[0] for name in tensors}
        first = next(iter(firsts)) if len(firsts) == 1 else ""
        if first not in ("module", "model", "backbone", "encoder", "net", "_orig_mod", "network", "trunk"):
            return wrapper
        wrapper += f"{first}."


def _dictionaries(
    loaded: Any, place: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    if not isinstance(loaded, dict) or depth > _DEPTH:
        return
    tensors = {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield place, {key: value.detach() for key, value in tensors.items()}
    for key, value in loaded.items():
        if isinstance(key, str):
            yield from _dictionaries(value, (*place, key), depth + 1)


def _fitting(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: state[name] for name, own in wanted.items() if name in state and state[name].shape == own.shape}


def _converted(state: dict[str, Tensor], network: nn.Module, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict after timm's own conversion, then with position embeddings and the last norm fitted."""
    for convert in _conversions(network):
        try:
            result = convert(dict(state), *(() if convert.__name__ == "_filter_fn" else (network,)))
        except Exception:  # a conversion can fail in any way on another network's names
            continue
        if isinstance(result, dict) and len(_fitting(result, wanted)) >= len(_fitting(state, wanted)):
            state = {name: value for name, value in result.items() if isinstance(value, Tensor)}
    state = dict(state)
    for name, own in wanted.items():
        if name.endswith("pos_embed") and name in state and state[name].shape != own.shape:
            state[name] = _resampled(state[name], own, network)
    _rename_last_norm(state, wanted)
    return state


def _conversions(network: nn.Module) -> Iterator[Callable[..., Any]]:
    """Yield timm's functions for converting the downloads of a family, nearest first."""
    for module in dict.fromkeys(kind.__module__ for kind in type(network).__mro__):
        if not module.startswith("timm.models"):
            continue
        for name in ("checkpoint_filter_fn", "_filter_fn", "checkpoint_filter_fn_classifier"):
            convert = getattr(sys.modules[module], name, None)
            if convert is not None:
                yield convert


def _resampled(positions: Tensor, own: Tensor, network: nn.Module) -> Tensor:
    embed = getattr(network, "patch_embed", None)
    grid = getattr(embed, "grid_size", None)
    if grid is None or positions.ndim != 3 or own.ndim != 3:
        return positions
    try:
        fitted: Tensor = resample_abs_pos_embed(
            positions, list(grid), num_prefix_tokens=own.shape[1] - grid[0] * grid[1]
        )
    except (RuntimeError, ValueError):  # not a square grid
        return positions
    return fitted


def _rename_last_norm(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    for norm in _NORMS:
        names = [name for name in wanted if name.startswith(f"{norm}.") and name not in state]
        for other in _NORMS:
            given = [f"{other}.{name.removeprefix(f'{norm}.')}" for name in names]
            if names and all(name in state and name not in wanted for name in given):
                state.update({name: state.pop(old) for name, old in zip(names, given, strict=True)})


def _misfit(missing: list[str], state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], needed: int) -> str:
    def fault(name: str) -> str:
        if name not in state:
            return f"{name} (absent)"
        there, here = ("×".join(map(str, value.shape)) or "one" for value in (state[name], wanted[name]))
        return f"{name} ({there} there, {here} here)"

    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    strange = [name for name in state if name not in wanted][:2]
    theirs = f"; what it holds is called {', '.join(strange)}" if strange and len(missing) > needed / 2 else ""
    return (
        f"{len(missing)} of {needed} tensors are absent or of another shape, "
        f"first {', '.join(fault(name) for name in missing[:3])}{more}{theirs}."
    )


def _described(best: _Choice, state: Mapping[str, Tensor], others: list[_Choice]) -> str:
    where = f" of {'.'.join(best.place)}" if best.place else ""
    line = f"{len(state)} tensors{where} taken"
    if beside := sorted({other.where for other in others if other.where and other.where != best.where}):
        averaged = ", averaged weights," if best.rank == 0 else ""
        line = f"{line}{averaged} rather than {' or '.join(beside[:3])}"
    if best.prefix:
        line += f", their prefix {best.prefix} cut off"
    if resampled := [name for name in state if name in best.state and best.state[name].shape != state[name].shape]:
        line += f", {', '.join(resampled[:2])} fitted to this input size"
    elif renamed := [name for name in state if name not in best.state]:
        line += f", {len(renamed)} renamed as in timm"
        return line
    left = [name for name in best.state if name not in state and not name.endswith("num_batches_tracked")]
    rows = [name for name in left if _CLASSIFIER.search(f"{name}")]
    weight = next((best.state[name] for name in rows if best.state[name].ndim >= 2), None)
    if rows:
        classes = f" of {len(weight):,} classes" if weight is not None else ""
        line += f"; left: the classifier{classes} ({', '.join(rows[:2])})"
    if further := [name for name in left if name not in rows]:
        line += f"{',' if rows else '; left:'} {len(further)} others ({', '.join(further[:2])})"
    return line
