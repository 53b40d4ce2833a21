"""The words a run ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lpk.core.pruning.mask import ranges


def summary_text(out: Path, done: dict[str, Any]) -> str:
    """What was removed, what it cost the model, what it cost to find out, and where everything is."""
    run, cost = done["run"], done["cost"]
    result, model = run["result"], run["model"]
    removed, layers = result["removed"], model["layers"]
    perplexity, loss = result["held_out_perplexity"], result["calibration_loss"]
    parameters, speed = result["parameters"], cost["tokens_per_second"]
    masks, found = result["masks"]["distinct"], cost["measurements_found_in_memo"]
    plugins = {role: plugin["name"].removeprefix("lpk/") for role, plugin in run["plugins"].items()}
    searched = plugins["searcher"] + (f", scorer {plugins['scorer']}" if "scorer" in plugins else "")
    lines = [
        f"{model['name']} ({model['architecture']}, {layers} layers): {len(removed)} removed, {layers - len(removed)} kept",
        "",
        f"  removed layers     {ranges(removed)}   (0-based)",
        f"  kept layers        {ranges(result['kept'])}",
        f"  search             {searched}, objective {plugins['objective']}",
        f"  precision          {run['precision']['dtype']}: {run['precision']['reason']}",
        "",
        f"  {'':34}{'dense':>12}{'pruned':>12}",
        _row("perplexity, held-out text", perplexity["dense"], perplexity["pruned"], ".2f"),
        _row(f"{plugins['objective']} loss, calibration", loss["dense"], loss["pruned"], ".4f"),
        _row("parameters (million)", parameters["dense"] / 1e6, parameters["pruned"] / 1e6, ".1f"),
        _row(
            "weights on disk (MB)",
            result["weight_bytes"]["dense"] / 1e6,
            cost["model_file_bytes"] / 1e6,
            ".1f",
        ),
        *_speed(speed),
        "",
        *_finalists(run),
        f"  evaluated          {masks} mask{'s'[: masks != 1]} on {_data(run['calibration'])}",
        f"  cost               {_forwards(cost)}; {sum(cost['seconds'].values()):.0f} s{' in its last process' if found else ''}",
    ]
    lines.append(f"  hidden states      {cost['peak_state_bytes'] / 1e6:,.1f} MB at most")
    if stopped := result["masks"]["stopped_early"]:
        lines.append(f"  racing             {stopped:,} candidates were stopped before all sequences (trials.csv)")
    if found:
        lines.append(
            f"  memo               {cost['measurements']:,} measurements are this run's own; its last process found {found:,} there,"
            " its own or others'"
        )
    lines += ["", f"  model              {out / 'model'}", f"  everything         {out}"]
    return "\n".join(lines)


def _forwards(cost: dict[str, Any]) -> str:
    naive = cost["naive_layer_forwards"]
    if not naive:
        return "no layer-forward: every loss was in the memo"
    forwards = cost["layer_forwards"]
    return f"{forwards:,} layer-forwards, {forwards / naive:.0%} of {naive:,} without prefix sharing"


def _finalists(run: dict[str, Any]) -> list[str]:
    """What the search's best masks lose in float32, if it ran in less."""
    finalists, dtype = run["result"]["finalists"], run["precision"]["dtype"]
    lines = [
        f"{finalist['confirmed_loss']:.4f} in float32 ({finalist['search_loss']:.4f} in {dtype}) without {ranges(finalist['removed'])}"
        for finalist in finalists
    ]
    return [f"  {'' if place else 'confirmed':19}{line}" for place, line in enumerate(lines)]


def _speed(speed: dict[str, dict[str, float]] | None) -> list[str]:
    if speed is None:
        return [f"  {'tokens/s':37}not measured: the layers were read from the disk as they ran"]
    ways = {"read": "reading", "write": "writing"}
    return [_row(f"tokens/s, {name}", speed["dense"][way], speed["pruned"][way], ".1f") for way, name in ways.items()]


def _row(label: str, dense: float, pruned: float, form: str) -> str:
    return f"  {label:34}{dense:>12,{form}}{pruned:>12,{form}}"


def _data(part: dict[str, Any]) -> str:
    groups = part.get("groups", [part])
    return " and ".join(
        f"{_sequences(each['sequences'])} ({each['tokens']:,} tokens) of {each['source']}" for each in groups
    )


def _sequences(count: int) -> str:
    return f"{count} sequence{'s'[: count != 1]}"


def plan_text(plan: dict[str, Any]) -> str:
    """What a run would do, and how many layer-forwards that takes."""
    from lpk.core.pruning.plan import NAIVE, UNSTOPPED

    forwards = {name: count for name, count in plan["layer_forwards"].items() if not name.endswith((NAIVE, UNSTOPPED))}
    total, about = sum(forwards.values()), "" if plan["exact"] else "about "
    protected = f"; {ranges(plan['protected'])} protected" if plan["protected"] else ""
    lines = [f"{plan['recipe']['model']}: remove {plan['budget']} of {plan['layers']} layers (0-based{protected})"]
    for kind, plugin in plan["plugins"].items():
        options = ", ".join(f"{key}={value}" for key, value in plugin["options"].items())
        lines.append(f"  {kind:10} {plugin['name']}{f' ({options})' if options else ''}")
    data = plan["calibration"]
    lines += [
        f"  precision  {plan['precision']['dtype']}: {plan['precision']['reason']}",
        f"  weights    {plan['weights']}",
        f"  data       {_sequences(data['sequences'])}, {data['tokens']:,} tokens, of {data['source']}",
        f"  masks      {about}{plan['masks']:,}",
    ]
    if plan["racing"]:
        lines.append(f"  racing     {plan['racing']}")
    if not plan["shares"]:
        lines.append(
            "  memory     too small to keep hidden states that masks share: layers run again, at more cost than said"
        )
    lines.append("  cost, in layer-forwards (one layer on one sequence):")
    unstopped = plan["layer_forwards"].get("search" + UNSTOPPED)
    raced = f"; {unstopped:,}{UNSTOPPED.removeprefix(',')}" if unstopped else ""
    notes = {"search": f" (about{raced})"} if about else {}
    lines += [f"    {count:>12,}  {name}{notes.get(name, '')}" for name, count in forwards.items()]
    naive = sum(plan["layer_forwards"].get(name + NAIVE, count) for name, count in forwards.items())
    lines.append(
        f"    {total:>12,}  in all{about and ' (about)'}; a full forward for each mask would take {about}{naive:,}"
    )
    return "\n".join(lines)
