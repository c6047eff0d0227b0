"""Every error that a caller may want to tell from another, by whose fault it is; the text is for people."""


class AgentError(Exception):
    """Base of all: catch it where a person is told what went wrong."""


class ConfigError(AgentError):
    """The configuration cannot be used: exit status 78 (EX_CONFIG), on which systemd does not restart."""


class StateDirectoryError(AgentError):
    """The state directory cannot be used. The message names it and what to do."""


class JournalError(AgentError):
    """The journal cannot be read or written. Nothing may be acknowledged until it can be."""


class JournalDamagedError(JournalError):
    """What the journal holds cannot be what was written. It is set aside, never repaired in silence."""


class RequestRefused(AgentError):  # noqa: N818 - "refused" is the word for an answer on /rejected
    """The service answered a request on its /rejected topic.

    `code` is one of AWS's (developer guide, page jobs-api, "ErrorResponse"); `execution_state` is the raw member of
    that name, present for InvalidStateTransition and VersionMismatch only.
    """

    def __init__(self, code: str, message: str, execution_state: dict[str, object] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.execution_state = execution_state


class RequestUnanswered(AgentError):  # noqa: N818 - a pair with RequestRefused
    """No answer in time, or the connection went away. The request may have been applied, or never have been sent."""


class DocumentError(AgentError):
    """The job document cannot be run here: the operator's fault, REJECTED with this message as the reason."""


class UnknownHandlerError(DocumentError):
    """No enabled handler knows the document: perhaps it is meant for another agent on the same thing."""


class UnavailableHandlerError(DocumentError):
    """The handler is enabled, but cannot run as it is found now."""


class HandlerError(AgentError):
    """A handler could not do its work: the device's fault, FAILED with this message as the reason."""
