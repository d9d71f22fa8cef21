"""Questions about access: answered, never stored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.core.kinds import SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_REVIEW, Kind
from tests.fakes.apiserver.store import Manifest

REVIEWS = frozenset({SELF_SUBJECT_REVIEW, SELF_SUBJECT_ACCESS_REVIEW})
Attributes = Mapping[str, str]


@dataclass
class Access:
    """Who the client is, and what it may: everything, unless a test says otherwise."""

    user: str = "oncall"
    may: Callable[[Attributes], bool] = lambda _: True
    asked: list[Attributes] = field(default_factory=list)

    def deny(self, *verbs: str) -> None:
        """Refuse these verbs on whatever it is."""
        self.may = lambda attributes: attributes.get("verb") not in verbs

    def answer(self, kind: Kind, question: Mapping[str, Any]) -> Manifest:
        """The question with its answer in ``status``."""
        if kind == SELF_SUBJECT_REVIEW:
            groups = ["system:authenticated"]
            return {
                **question,
                "status": {"userInfo": {"username": self.user, "groups": groups}},
            }
        attributes = (question.get("spec") or {}).get("resourceAttributes") or {}
        self.asked.append(attributes)
        allowed = self.may(attributes)
        return {**question, "status": {"allowed": allowed}}
