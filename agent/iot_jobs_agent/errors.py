"""The errors that a caller may want to tell apart, by whose fault they are. Their text is for people."""


class AgentError(Exception):
    """The base class of all errors: catch it where a person is told what went wrong."""


class UsageError(AgentError):
    """What the command was given cannot be used. The exit status is 2, as for options that do not exist."""


class ConfigError(AgentError):
    """The configuration cannot be used. The exit status is 78 (EX_CONFIG), on which systemd does not restart."""


class StateDirectoryError(AgentError):
    """The state directory cannot be used. The message says which, and what to do."""


class JournalError(AgentError):
    """The journal cannot be read or written. Nothing may be acknowledged until it can be."""


class JournalDamagedError(JournalError):
    """The contents of the journal cannot be what was written. It is set aside, never silently repaired."""


class RequestRefused(AgentError):  # noqa: N818 - "refused" is the word for an answer on /rejected
    """The service answered a request on its /rejected topic, or over HTTPS with an error status.

    `code` is one of AWS's (AWS IoT developer guide, page jobs-api, "ErrorResponse"), or `HTTP` and the status.
    `execution_state` is the raw member `executionState`, present for InvalidStateTransition and VersionMismatch only.
    """

    def __init__(self, code: str, message: str, execution_state: dict[str, object] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.execution_state = execution_state


class RequestUnanswered(AgentError):  # noqa: N818 - a pair with RequestRefused
    """There was no answer in time, or no connection. The request may have been applied, or never have been sent."""


class DocumentError(AgentError):
    """The job document cannot be run here. That is the operator's fault: REJECTED, with this message as the reason."""


class ForeignDocumentError(DocumentError):
    """Nothing here knows this kind of document. Perhaps it is meant for another agent of the same thing."""


class UnknownHandlerError(ForeignDocumentError):
    """The document asks for a handler that is not enabled here."""


class UnavailableHandlerError(DocumentError):
    """The handler is enabled, but as we find it now, it cannot run."""


class HandlerError(AgentError):
    """A handler could not do its work. That is the device's fault: FAILED, with this message as the reason."""
