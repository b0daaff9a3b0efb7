"""The real gh, and a stand-in for GitHub that it trusts."""

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from github_api import GitHubApi, github_api


@contextmanager
def real_gh(folder: Path) -> Iterator[tuple[GitHubApi, dict[str, str]]]:
    """Serve a stand-in; yield it, and the variables with which gh asks it about `owner/name`.

    `folder` becomes the home of gh.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with github_api(context=context) as github:
        host = github.url.removeprefix("https://")
        yield (
            github,
            {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(folder),
                "GH_HOST": host,
                "GH_REPO": f"{host}/owner/name",
                "GH_ENTERPRISE_TOKEN": "a-token",
                "GH_PROMPT_DISABLED": "1",
                "SSL_CERT_FILE": str(folder / "authority.pem"),
            },
        )
