"""A short, complete story of a site, as its log would tell it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from holdfast import hashing
from holdfast.artefact import Artefact, FileRef, Kind
from holdfast.governance import listing
from holdfast.governance.labels import Label

NOW = "2026-11-22T10:00:00.000000Z"
LABEL = Label("internal", frozenset({"harbour"}), frozenset({"site"}))


def digest(name):
    return hashing.sha512(name.encode())


def artefact(kind, name, *, label=LABEL, parents=(), size=1_000):
    return Artefact(Kind(kind), name, "1.0", (FileRef("data.bin", size, digest(name)),), label, parents)


@dataclass
class Story:
    """Events in order; ``tell`` appends one and gives its sequence number."""

    events: list = field(default_factory=list)

    def tell(self, action, by="holdfastd", role=None, *, cause=None, uid=None, clock="host", **params):
        seq = len(self.events)
        role = role or ("service" if by == "holdfastd" else "operator")
        self.events.append(
            {
                "seq": seq,
                "time": f"2026-11-22T09:{seq // 60:02}:{seq % 60:02}.000000Z",
                "clock": clock,
                "actor": {
                    "person": by,
                    "uid": uid,
                    "role": role,
                    "session": None if uid is None else f"s-{by}",
                },
                "action": action,
                "subject": None,
                "label": None,
                "params": params,
                "cause": cause,
            }
        )
        return seq

    def act(self, action, person, role, asked, outcome="done", *, uid=1000, **params):
        intent = self.tell(action, person, role, uid=uid, **asked)
        self.tell(f"{action}.{outcome}", person, role, uid=uid, cause=intent, **params)
        return intent

    def bring(self, person, asked, *found, uid=1000, **params):
        """Tell an import that lists what it brings."""
        intent = self.tell("bundle.import", person, "administrator", uid=uid, **asked)
        for one in found:
            for told in listing.divide(one, {}):
                self.tell(listing.LISTED, person, "administrator", uid=uid, cause=intent, **told)
        params |= {"artefacts": len(found), "listing": listing.digest_of(one.digest for one in found)}
        self.tell("bundle.import.done", person, "administrator", uid=uid, cause=intent, **params)
        return intent

    @property
    def log(self):
        return {"origin": "holdfast.example/harbour", "size": len(self.events), "root": "ab" * 32}


def tell_safeguards(story, base):
    """Two people lift a rule, a medium revokes the base, an inventory leaves."""
    wanted = {
        "schema": "holdfast.exception/1",
        "kind": "revoked",
        "subject": base.digest,
        "until": "2026-11-30T00:00:00Z",
        "reason": "The ship comes in June.",
    }
    asked = story.tell("exception.asked", "bruno", "administrator", uid=1001, exception=wanted)
    story.act(
        "exception.grant", "amira", "administrator", {"request": asked}, request=asked, exception=wanted
    )
    floor = wanted | {"kind": "floor", "subject": "2026-11-01T00:00:00Z"}
    asked = story.tell("exception.asked", "bruno", "administrator", uid=1001, exception=floor)
    story.tell(
        "exception.refused", "amira", "administrator", uid=1000, request=asked, reason="The clock is right."
    )
    entry = {
        "digest": base.digest,
        "kind": "base",
        "name": "starter-base 1.0",
        "reason": "It repeats names.",
        "since": "2026-11-20T00:00:00Z",
        "instead": digest("better"),
    }
    story.tell("revocation.listed", counter=1, bundle="news 4", entries=[entry])
    story.tell("artefact.revoked", revoked=base.digest, name="starter-base@1.0")
    story.events[-1]["subject"] = {"kind": "base", "digest": base.digest}
    made = story.act(
        "request.make",
        "bruno",
        "administrator",
        {"artefacts": 1},
        uid=1001,
        statement=digest("statement"),
        artefacts=1,
        bytes=23_400_000,
        label=LABEL.to_json(),
    )
    story.act(
        "request.grant",
        "amira",
        "administrator",
        {"request": made},
        request=made,
        document=digest("document"),
    )
    story.tell(
        "request.fetched", "bruno", "administrator", uid=1001, request=made, document=digest("document")
    )


def tell_release(story, run):
    """A run is released under a name, by two people."""
    release = {"alias": "harbour", "kind": "adapter", "product": digest("adapter"), "run": run.digest}
    request = story.tell("release.proposed", "otto", "operator", uid=1000, release=release)
    asked = {"request": request, "requester": "otto", "alias": "harbour"}
    story.act("release.approve", "amira", "administrator", asked, request=request, alias="harbour")


@pytest.fixture(scope="session")
def make_story():
    def make(*, site="Harbour Office", self_made=True, admitter="amira"):
        story = Story()
        story.tell(
            "site.founded",
            site=site,
            zones=["site"],
            people=[
                {"name": "amira", "roles": ["administrator"], "fingerprint": "aaaa 0001", "uids": [1000]},
                {"name": "bruno", "roles": ["administrator"], "fingerprint": "bbbb 0002", "uids": [1001]},
                {"name": "otto", "roles": ["operator"], "fingerprint": "cccc 0003", "uids": [1000]},
            ],
            gaps=["The keys of this demonstration lie beside each other in one folder."],
        )
        story.tell(
            "daemon.started",
            version="0.1.0",
            walls={"seccomp": True, "landlock": "abi 7", "egress_sink": False},
        )
        story.tell(
            "trust.pinned",
            "amira",
            "administrator",
            version=1,
            fingerprint="0123 4567 89ab",
            self_made=self_made,
        )
        base, tokenizer = (
            artefact("base", "starter-base", size=23_400_000),
            artefact("tokenizer", "starter-tokenizer"),
        )
        request = story.bring(
            "bruno",
            {"path": "starter"},
            base,
            tokenizer,
            uid=1001,
            name="starter",
            version="1.0",
            publisher="Holdfast starter",
            manifest=digest("manifest"),
            root_version=1,
            holders=["holder-one", "holder-two"],
            bytes=24_000_000,
            volumes=1,
            requester="bruno",
        )
        story.act(
            "bundle.admit",
            admitter,
            "administrator",
            {"request": request, "requester": "bruno"},
            request=request,
            generation=1,
            artefacts=2,
        )
        data, recipe = artefact("dataset", "harbour-rules"), artefact("recipe", "adapt")
        preparing = {"name": "harbour-rules", "method": "sft", "files": 1, "quarantine": False}
        story.act(
            "dataset.prepare", "otto", "operator", preparing, dataset=data.digest, artefacts=[data.to_json()]
        )
        story.tell("recipe.added", "otto", uid=1000, artefacts=[recipe.to_json()])
        adapter = artefact("adapter", "harbour", parents=(base.digest, data.digest))
        run = artefact("run", "harbour-run", parents=(base.digest, recipe.digest))
        story.act(
            "train.run",
            "otto",
            "operator",
            {
                "recipe": recipe.digest,
                "base": base.digest,
                "tokenizer": tokenizer.digest,
                "data": {"rules.jsonl": data.digest},
            },
            run=run.digest,
            adapter=adapter.digest,
            artefacts=[adapter.to_json(), run.to_json()],
            steps=120,
            tokens_per_second=2400.5,
            seconds=61.5,
            telemetry=digest("telemetry"),
        )
        story.act(
            "train.replay",
            "otto",
            "operator",
            {"run": run.digest},
            run=run.digest,
            adapter_digest=adapter.digest,
            replayed_digest=adapter.digest,
            equal=True,
        )
        story.act(
            "eval.run",
            "otto",
            "operator",
            {"run": run.digest, "suites": {"domain": digest("domain"), "general": digest("general")}},
            run=run.digest,
            scores={
                f"{moment}-{engine}": {"domain": {"facts": 0.9333, "joined": 0.9}, "general": {"all": 0.98}}
                for engine in ("transformers", "q4_k_m")
                for moment in ("before", "after")
            },
        )
        story.tell(
            "gate.decided",
            "otto",
            uid=1000,
            run=run.digest,
            go=True,
            suites={"domain": digest("domain")},
            judged=[
                {
                    "on": "q4_k_m",
                    "suite": "domain",
                    "section": "facts",
                    "rule": "minimum",
                    "holds": True,
                    "verdict": "better",
                },
                "nonsense",
            ],
            reasons=["domain 0.93 is at least 0.90"],
        )
        gguf = artefact("gguf", "starter-base-q4", parents=(base.digest,))
        story.act(
            "model.quantize",
            "otto",
            "operator",
            {},
            artefacts=[gguf.to_json()],
            fidelity={"kl": 0.012, "top1": 0.97},
        )
        story.act(
            "serve.start",
            "otto",
            "operator",
            {},
            models=[{"id": "starter", "digest": gguf.digest, "label": LABEL.to_json()}],
            address="127.0.0.1:8600",
        )
        for tenant in ("front-desk", "front-desk", "archive"):
            asked = story.tell(
                "answer",
                "holdfast-serve",
                "service",
                model="starter:harbour",
                model_digest=gguf.digest,
                adapter_digest=adapter.digest,
                tenant=tenant,
                key="k1",
                prompt_tokens=40,
            )
            story.tell(
                "answer.done",
                "holdfast-serve",
                "service",
                cause=asked,
                completion_tokens=12,
                finish_reason="stop",
            )
        tell_safeguards(story, base)
        tell_release(story, run)
        for count in (1, 2, 10):
            story.tell(
                "worker.denied",
                worker="train",
                job=7,
                syscall="connect",
                destination="192.0.2.1:80",
                count=count,
            )
        story.tell("access.denied", reason="session.role", route="/v1/bundles", uid=1000, person="otto")
        story.tell("report.residency", "amira", "auditor", uid=1000)
        return story

    return make


@pytest.fixture(scope="session")
def now():
    return NOW
