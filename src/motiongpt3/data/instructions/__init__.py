"""Wordings of requests and answers: instruction templates, and conversation without templates.

`templates` reads them (ours and anyone's in the official JSON structure), `conversation` reads requests in
free form with what each of them wants.
"""

from motiongpt3.data.instructions.conversation import Conversation, Turn, load_conversation
from motiongpt3.data.instructions.templates import TASK_OF_CLASS, Template, fulfil, load_templates

__all__ = [
    "TASK_OF_CLASS",
    "Conversation",
    "Template",
    "Turn",
    "fulfil",
    "load_conversation",
    "load_templates",
]
