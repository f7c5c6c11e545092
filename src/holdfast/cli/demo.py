"""``holdfast demo``: the main job, end to end, in a scratch home, by the same calls that people make.

Order of operations: keys, medium, home, import by two administrators, training, replay, quantization, gate, serving, a
question, the log verified, the report verified. Nothing is simulated; every figure printed was measured in this run.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli import connect, keyfiles, service
from holdfast.cli.output import json_option, size
from holdfast.errors import Conflict, NotFound, OperationFailed, VerificationFailed
from holdfast.paths import Home

if TYPE_CHECKING:
    from holdfast.canonical import Json
    from holdfast.client.connection import Client
    from holdfast.keys.person import KeyPair

PUBLISHERS = ("petra", "paul")
PEOPLE = {"alice": "administrator", "bob": "administrator", "olga": "operator", "aude": "auditor"}
SITE = "Scratch site"
QUANTIZATION = "q8_0"
STEPS = 12
QUERY = "SELECT action, count(*) FROM events GROUP BY 1 ORDER BY 2 DESC"
PASSPHRASE = "passphrase"  # noqa: S105 - the name of a file


@dataclass
class _Demo:
    """One run of the demo."""

    folder: Path
    starter: Path
    quiet: bool
    began: float = field(default_factory=time.monotonic)
    step: int = 0
    pairs: dict[str, KeyPair] = field(default_factory=dict)
    result: dict[str, Json] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def medium(self) -> Path:
        return self.folder / "media" / "starter"

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def say(self, text: str) -> None:
        if not self.quiet:
            click.echo(text)
            sys.stdout.flush()

    def begin(self, text: str) -> None:
        self.step += 1
        self.say(click.style(f"\n[{self.step:2}/{STEPS}] {text}", bold=True))

    def done(self, text: str) -> None:
        self.say(f"{click.style('   ✓', fg='green')} {text}  ({time.monotonic() - self.began:.0f} s so far)")


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), help="Work here instead of in a new temporary folder."
)
@click.option(
    "--starter", type=click.Path(path_type=Path), help="The starter content; found by itself in a checkout."
)
@click.option("--stay", is_flag=True, help="Leave the daemon running and the model served at the end.")
@json_option
def demo(out: Path | None, starter: Path | None, *, stay: bool, as_json: bool) -> None:
    """See the whole of it: from a signed medium to a report that verifies, in a scratch home."""
    folder = (out or Path(tempfile.mkdtemp(prefix="holdfast-demo-"))).absolute()
    if folder.exists() and any(folder.iterdir()):
        raise Conflict("demo.out-taken", f"{folder} is not empty.", remedy="Name a new folder with --out.")
    run = _Demo(folder, _starter(starter), quiet=as_json)
    run.say(f"Everything happens in {folder}; nothing leaves this machine.")
    signal.signal(signal.SIGTERM, _terminated)  # so that the daemon below is stopped, as it is on Ctrl-C
    try:
        _prepare(run)
        asyncio.run(_work(run))
    finally:
        if not stay and service.running(run.home):
            service.stop(run.home)
    run.result["seconds"] = round(time.monotonic() - run.began, 1)
    if as_json:
        click.echo(json.dumps(run.result, indent=2, ensure_ascii=False))
    else:
        _close(run, stay=stay)


def _terminated(_signal: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def _starter(named: Path | None) -> Path:
    folder = named or Path(__file__).resolve().parents[3] / "bundles" / "starter"
    if not (folder / "recipe.toml").is_file():
        raise NotFound(
            "demo.starter",
            f"There is no starter content in {folder}.",
            remedy="Name its folder with --starter.",
        )
    return folder


def _prepare(run: _Demo) -> None:
    """Do what happens before there is a daemon: keys, the medium, the home and its root of trust."""
    from holdfast.media import build, trusthome
    from holdfast.media.verify import verify_medium

    run.begin("Keys: two publishers, two administrators, an operator, an auditor")
    _make_keys(run)
    run.done(f"Ed25519 and ML-DSA-87 for each, in {run.keys}")

    run.begin("Publisher: build the signed medium")
    made = build.build(
        run.starter / "recipe.toml",
        run.medium,
        [run.pairs[name] for name in PUBLISHERS],
        build.origin(None, None),
        now=datetime.now(UTC),
        progress=_silent,
    )
    run.done(f"{size(made.size)} of artefacts, signed by {' and '.join(PUBLISHERS)}; root {made.fingerprint}")

    run.begin("Site: found a home and pin the root by its fingerprint")
    root = (run.medium / "metadata" / "1.root.json").read_bytes()
    _write_site(run)
    service.found_home(run.home, run.folder / "site.toml")
    trusthome.pin(run.home.trust, root, made.fingerprint, datetime.now(UTC))
    verified = verify_medium(run.medium, trusthome.load(run.home.trust), datetime.now(UTC), _silent)
    verified.medium.close()
    service.start(run.home)
    run.done("home founded, root pinned, medium verified offline, daemon up")
    run.result["bundle"] = {"digest": verified.digest, "verified": True, "volumes": 1}


def _silent(step: str, done: int, total: int) -> None:
    """Take a report of progress and show nothing: these steps take a second."""


def _make_keys(run: _Demo) -> None:
    from holdfast import canonical
    from holdfast.keys import envelope, person
    from holdfast.store import disk

    run.keys.mkdir(parents=True, mode=0o700, exist_ok=True)
    passphrase = secrets.token_urlsafe(24)
    disk.create_file(run.keys / PASSPHRASE, passphrase.encode() + b"\n", mode=0o600)
    for name in (*PUBLISHERS, *PEOPLE):
        pair = run.pairs[name] = person.generate(name)
        disk.create_file(keyfiles.secret(run.keys, name), envelope.seal(pair, passphrase), mode=0o600)
        disk.create_file(
            keyfiles.public(run.keys, name), canonical.encode(pair.public.to_json()) + b"\n", mode=0o644
        )


def _write_site(run: _Demo) -> None:
    import os

    lines = [
        'schema = "holdfast.site/1"',
        f'name = "{SITE}"',
        'zones = ["site"]',
        f"media_roots = [{json.dumps(str(run.folder / 'media'))}]",
        "gaps = [",
        '  "The root of trust was made by this demo itself, not received from a publisher.",',
        '  "All keys of this demo are held by one person, under one passphrase that lies beside them.",',
        "]",
        f"threads = {min(os.cpu_count() or 1, 2)}",
        "[serving]",
        "port = 0",
    ]
    for name, role in PEOPLE.items():
        lines += [
            "[[person]]",
            f'name = "{name}"',
            f'roles = ["{role}"]',
            f'key = "keys/{name}.pub"',
            f"uids = [{os.getuid()}]",
        ]
    (run.folder / "site.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


async def _work(run: _Demo) -> None:
    from holdfast.client import operations, training
    from holdfast.client.connection import Client

    async with AsyncExitStack() as stack:
        clients = []
        for name in PEOPLE:
            client = await stack.enter_async_context(Client(run.home))
            await client.login(run.pairs[name])
            clients.append(client)
        alice, bob, olga, aude = clients

        run.begin("Administrators: import the bundle, and admit it with a second signature")
        request = await operations.start_import(alice, run.medium)
        found = await alice.finish(request)
        admitted = await operations.admit(bob, run.pairs["bob"], request)
        run.done(
            f"{found['name']} {found['version']} inspected; generation {admitted['generation']} is active"
        )

        run.begin("Operator: customise the base on the authority's own data")
        job = await training.start(olga, run.starter / "adapt.toml", "starter")
        trained = await connect.finish(olga, job) if not run.quiet else await olga.finish(job)
        run.done(
            f"{trained['steps']} steps, final loss {_float(trained['final_loss']):.3f}, "
            f"{_float(trained['tokens_per_second']):.0f} tokens/s; adapter {_short(trained['adapter'])}"
        )

        run.begin("Operator: replay the run; the adapter must be the same bit for bit")
        again = await olga.finish(await training.replay(olga, str(job)))
        if again["adapter_digest"] != again["replayed_digest"]:
            raise VerificationFailed("demo.replay", "The replay differs.", remedy="See both manifests.")
        run.done(f"adapter {_short(again['replayed_digest'])}, equal: {again['equal']}")
        run.result["training"] = {
            "run": trained["run"],
            "adapter_digest": again["adapter_digest"],
            "replayed_digest": again["replayed_digest"],
            "steps": trained["steps"],
            "tokens_per_second": trained["tokens_per_second"],
        }

        run.begin("Operator: convert to GGUF, quantize, compare with the original")
        converted = await olga.finish(
            _job(
                await olga.call(
                    "POST",
                    "/v1/models/quantize",
                    {"model": "starter", "adapter": str(job), "types": ["q8_0", "q4_k_m"]},
                )
            )
        )
        _tell_gguf(run, converted)

        run.begin("Operator: evaluate before and after, on both engines, and decide the gate")
        gate = await olga.finish(
            _job(await olga.call("POST", f"/v1/runs/{job}/gate", {"quantization": QUANTIZATION}))
        )
        _tell_gate(run, gate)

        run.begin("Operator: serve base and adapter behind an OpenAI-compatible API, and ask")
        await _serve(run, olga, job)

        run.begin("Auditor: verify the log, and prove one answer")
        proof = await aude.call("GET", f"/v1/audit/proofs/{_dict(run.result['serving'])['receipt_seq']}")
        (run.folder / "answer.tlog-proof").write_text(str(proof["proof"]), encoding="utf-8")
        audit = await aude.call("POST", "/v1/audit/verify")
        run.result["audit"] = {"size": audit["size"], "root": audit["root"], "verified": audit["verified"]}
        if not audit["verified"]:
            raise VerificationFailed("demo.audit", "The log does not verify.", remedy="See `audit verify`.")
        run.done(f"{audit['size']} events, root {str(audit['root'])[:16]}…, verified: {audit['verified']}")

        run.begin("Auditor: export the residency report")
        report = _job(await aude.call("POST", "/v1/reports/residency"))
        await aude.finish(report)
        names = await operations.save_report(aude, report, run.report)
        run.done(f"{', '.join(names)} in {run.report}")
        _verify_report(run, await aude.call("GET", "/v1/status"))


async def _serve(run: _Demo, olga: Client, job: int) -> None:
    """Start serving, and ask each model one held-out question of the domain suite through the openai client."""
    from holdfast.client import chat

    started = await olga.finish(
        _job(
            await olga.call(
                "POST",
                "/v1/serving/start",
                {"model": "starter", "adapters": [str(job)], "quantization": QUANTIZATION},
            )
        )
    )
    key = await olga.call("POST", "/v1/serving/keys", {"tenant": "registry office"})
    listed = started["models"]
    ids = [str(_dict(one)["id"]) for one in (listed if isinstance(listed, list) else [])]
    question = _question(run)
    run.say(f"     asked:  {question}")
    answers: list[dict[str, Json]] = []
    for model in ids:
        answer = await asyncio.to_thread(
            chat.ask,
            str(started["address"]),
            str(key["secret"]),
            model,
            question,
            max_tokens=64,
            on_text=lambda _: None,
        )
        run.say(f"     {model}: {answer['answer']}")
        answers.append(answer)
    told = answers[-1]
    run.result["serving"] = {
        "answer": told["answer"],
        "tokens_per_second": round(_float(told["completion_tokens"]) / max(_float(told["seconds"]), 1e-6), 1),
        "receipt_seq": told["answer_seq"],
        "question": question,
        "model": ids[-1],
    }
    run.done(f"receipts {told['request_seq']} (before the first byte) and {told['answer_seq']} (the answer)")


def _question(run: _Demo) -> str:
    with (run.starter / "suites" / "domain" / "items.jsonl").open(encoding="utf-8") as file:
        return str(json.loads(file.readline())["messages"][-1]["content"])


def _tell_gguf(run: _Demo, converted: dict[str, Json]) -> None:
    fidelity = _dict(converted["fidelity"])
    chosen = _dict(fidelity[QUANTIZATION])
    run.result["gguf"] = {
        "quantization": QUANTIZATION,
        "kl": chosen["kl"],
        "top1": chosen["top1"],
        "fidelity": fidelity,
    }
    parts = [
        f"{name}: KL {_float(one['kl']):.5f}, top-1 {_float(one['top1']):.4f}"
        for name, one in fidelity.items()
        if isinstance(one, dict) and "kl" in one
    ]
    run.done(
        f"token ids equal, f16 logits within {_float(fidelity['f16_max_logit_diff']):.4f}; {'; '.join(parts)}"
    )


def _tell_gate(run: _Demo, gate: dict[str, Json]) -> None:
    scores = _dict(gate["scores"])

    def score(moment: str, column: str, suite: str, section: str) -> Json:
        return _dict(_dict(scores[f"{moment}-{column}"])[suite])[section]

    run.result["evaluation"] = {
        "suite": "domain",
        "before": score("before", "transformers", "domain", "primary"),
        "after": score("after", "transformers", "domain", "primary"),
        "general_before": score("before", "transformers", "general", "all"),
        "general_after": score("after", "transformers", "general", "all"),
        "gate": "go" if gate["go"] else "no-go",
        "scores": scores,
    }
    for column in ("transformers", QUANTIZATION):
        parts = [
            f"{suite} {_float(score('before', column, suite, section)):.3f} → "
            f"{_float(score('after', column, suite, section)):.3f}"
            for suite, section in (("domain", "primary"), ("general", "all"))
        ]
        run.say(f"     {column:12} {', '.join(parts)}")
    reasons = gate["reasons"]
    for reason in reasons if isinstance(reasons, list) else []:
        run.say(f"     {reason}")
    if not gate["go"]:
        raise OperationFailed("demo.gate", "The gate said no-go.", remedy="See the reasons above.")
    run.done("gate: go")


def _verify_report(run: _Demo, status: dict[str, Json]) -> None:
    from holdfast.report import folder
    from holdfast.report.verify import verify

    run.begin("Anywhere else: verify the report with no daemon")
    verdict = verify(folder.read(run.report), fingerprint=str(status["appliance"]))
    if not verdict.ok:
        raise VerificationFailed("demo.report", "The report does not verify.", remedy="Look at it.")
    gaps = status["gaps"]
    run.result["report"] = {"pdf": str(run.report / "residency.pdf"), "verified": verdict.ok}
    run.done(
        f"verified: {verdict.ok}; {len(gaps) if isinstance(gaps, list) else 0} gaps of this home are stated in it"
    )


def _close(run: _Demo, *, stay: bool) -> None:
    up = "" if stay else f"\n  holdfast --home {run.home.root} up"
    click.echo(
        f"""
Done in {run.result["seconds"]} s. Everything is in {run.folder}:
  media/starter   the signed medium         home/    the appliance's home, with its log
  report/         the residency report      keys/    everybody's keys and their one passphrase

Try next:
  export HOLDFAST_KEYS={run.keys} HOLDFAST_PASSPHRASE_FILE={run.keys / PASSPHRASE}{up}
  holdfast --home {run.home.root} --as olga console
  holdfast --home {run.home.root} --as aude audit log
  holdfast --home {run.home.root} --as aude audit sql "{QUERY}"
  holdfast --home {run.home.root} --as olga train show {_dict(run.result["training"])["run"]}
  holdfast report verify {run.report}
Remove it all with: rm -r {run.folder}"""
    )


def _job(answer: dict[str, Json]) -> int:
    number = answer["job"]
    return number if isinstance(number, int) else 0


def _dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _float(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _short(value: Json) -> str:
    return str(value).split(":", 1)[-1][:12]
