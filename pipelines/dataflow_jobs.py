"""Asking Dataflow after a job."""

import re
from typing import Final

ENDPOINT: Final = "https://dataflow.googleapis.com"


def is_active(job: str) -> bool:
    """Whether a job, as of `pipelines.dataflow.job_of`, waits or runs.

    Raises:
        OSError: if Dataflow does not say.
    """
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import AuthorizedSession

    match = re.fullmatch("(projects/[^/]+/locations/[^/]+/jobs)/(.*)", job)
    if match is None:
        raise OSError(f"{job} is no name of a job")
    jobs, name = match.groups()
    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        answer = AuthorizedSession(credentials).get(
            f"{ENDPOINT}/v1b3/{jobs}", params={"filter": "ACTIVE", "name": name}, timeout=30
        )
        answer.raise_for_status()
        return any(found["name"] == name for found in answer.json().get("jobs", ()))
    except (GoogleAuthError, OSError, ValueError) as error:
        raise OSError(f"Dataflow does not say whether {job} runs: {error}") from error
