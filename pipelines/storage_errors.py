"""What the library of Cloud Storage raises, as the errors of a file system."""

import contextlib
import errno
from collections.abc import Iterator


@contextlib.contextmanager
def storage_errors(uri: str, what: str) -> Iterator[None]:
    """Turn what the library raises into an OSError with a way out.

    Raises:
        FileNotFoundError: if an object or the bucket is not there.
        PreconditionFailed: as it is: to see it is what a precondition is for.
        OSError: for every other reason; that of a full disk as it is, since it is a local one.
    """
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import InvalidResponse
    from urllib3.exceptions import HTTPError

    try:
        yield
    except exceptions.PreconditionFailed:
        raise
    except exceptions.NotFound as error:
        raise FileNotFoundError(f"{uri} could not be {what}, it does not exist: {_said(error)}") from error
    except exceptions.Forbidden as error:
        raise OSError(
            f"{uri} may not be {what}: {_said(error)}; the account needs the role Storage Object User on the bucket"
        ) from error
    except (exceptions.Unauthorized, GoogleAuthError) as error:
        raise OSError(
            f"{uri} could not be {what}, since no credentials for Google Cloud hold here: {_said(error)} "
            "Run `gcloud auth application-default login`, or name a key file in GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    except (exceptions.GoogleAPIError, InvalidResponse, HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(f"{uri} could not be {what}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:500] or type(error).__name__
