"""Make databases/vN.db for the newest version N, to be opened by all later versions. Run once a version.

python -m tests.conversations.make_database
"""

from __future__ import annotations

from pathlib import Path

from hugchat_tui.conversations.model import ReplyDetails
from hugchat_tui.conversations.schema import MIGRATIONS
from hugchat_tui.conversations.store import Store


def main() -> None:
    path = Path(__file__).parent / "databases" / f"v{len(MIGRATIONS)}.db"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    store = Store(path)
    conversation = store.create_conversation("An old conversation", system_prompt="Be brief.", model="starter")
    question = store.add_message(conversation.id, None, "user", "What did 猫 say?")
    store.add_message(conversation.id, question.id, "assistant", "The other answer.", ReplyDetails(ended="stopped"))
    details = ReplyDetails(model="starter", seed=7, new_tokens=5, ended="done")
    answer = store.add_message(conversation.id, question.id, "assistant", "It said\0nothing at all.", details)
    store.mark_reply(answer.id, "good")
    hidden = store.add_message(conversation.id, question.id, "assistant", "A hidden answer.")
    store.delete_message(hidden.id)
    store.save_draft(conversation.id, "a draft")
    store.close()
    path.chmod(0o644)


if __name__ == "__main__":
    main()
