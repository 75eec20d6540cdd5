"""What was said so far: as input of the next run, and as a file to keep."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from flowcore.errors import ConfigError
from flowcore.schema import Role


@dataclass(frozen=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: str


@dataclass
class Conversation:
    """The questions that were answered, oldest first."""

    exchanges: list[Exchange] = field(default_factory=list[Exchange])

    def add(self, question: str, answer: str) -> None:
        """Remember an answer."""
        self.exchanges.append(Exchange(question, answer))

    def messages(self) -> list[dict[str, str]]:
        """Return all as messages in the form of the OpenAI API, which is JSON."""
        return [
            {"role": role, "content": content}
            for exchange in self.exchanges
            for role, content in (
                (Role.USER.value, exchange.question),
                (Role.ASSISTANT.value, exchange.answer),
            )
        ]

    def save(self, name: str) -> Path:
        """Write all to a new file, and return its path: ``.json`` as messages, else as Markdown.

        Raises:
            ConfigError: If the file exists or cannot be written.
        """
        path = Path(name)
        if path.suffix == ".json":
            text = json.dumps(self.messages(), indent=2, ensure_ascii=False) + "\n"
        else:
            text = "\n".join(
                f"## You\n\n{exchange.question}\n\n## Answer\n\n{exchange.answer.rstrip()}\n"
                for exchange in self.exchanges
            )
        try:
            path = path.expanduser()
            with path.open("x", encoding="utf-8", errors="replace", newline="\n") as file:
                file.write(text)
        except FileExistsError:
            raise ConfigError(f"{path} exists; choose another name") from None
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"cannot write {path}: {error}") from None
        return path
