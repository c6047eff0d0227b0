"""Write one file below a directory that the device's owner allows: old or new is there, never a part of it."""

import base64
from typing import Self

from pydantic import BaseModel, Field, model_validator

from iot_jobs_agent.handler import Handler, HandlerError, Job, Outcome
from iot_jobs_handlers.roots import Outside, entry, replace


class Params(BaseModel, frozen=True, extra="forbid"):
    """What to write where; one of the two contents."""

    path: str = Field(
        min_length=2, max_length=4096, pattern=r"^/[^\x00]*$", description="absolute path of the file, below a root"
    )
    content: str | None = Field(default=None, description="text, written as UTF-8")
    content_base64: str | None = Field(default=None, description="in its place, any bytes in base64")
    mode: str | None = Field(
        default=None, pattern=r"^0?[0-7]{3}$", description='octal, as in "0640"; else that of the old file, or 0644'
    )

    @model_validator(mode="after")
    def _has_one_content(self) -> Self:
        if (self.content is None) == (self.content_base64 is None):
            raise ValueError("give either content or content_base64")
        return self


def write_file(params: Params, job: Job) -> Outcome:
    """Write the file atomically and durably. The setting `roots` lists the directories below which that is allowed."""
    try:
        data = content(params)
    except UnicodeEncodeError:
        return Outcome.rejected("content: holds half of a surrogate pair; send well-formed Unicode")
    except ValueError:  # binascii.Error, or a plain ValueError if it is not ASCII
        return Outcome.rejected("content_base64: is not base64")
    try:
        with entry(params.path, job.settings, "write-file") as (directory, name):
            replace(directory, name, data, int(params.mode, 8) if params.mode else None)
    except Outside as error:
        return Outcome.rejected(str(error))
    except OSError as error:
        raise HandlerError(f"the file cannot be written: {error.strerror}") from None
    return Outcome.succeeded(size_bytes=len(data))


def content(params: Params) -> bytes:
    """Return the bytes to write."""
    if params.content_base64 is not None:
        return base64.b64decode(params.content_base64, validate=True)
    return (params.content or "").encode()


HANDLER = Handler(name="write-file", params=Params, run=write_file, summary=__doc__.splitlines()[0])
