"""API servers for a rehearsal: our own must survive it, and a kubeconfig must be usable."""

from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest

from delivery.control_plane.api_server import ApiServer
from delivery.control_plane.assets import ApiServerAssets
from delivery.control_plane.cache import ControlPlaneError
from delivery.control_plane.client import UnreachableError
from delivery.control_plane.programs import StartError, start
from delivery.rehearsal import control_planes
from delivery.rehearsal.control_planes import given, own


@pytest.mark.parametrize(
    "answer", [None, UnreachableError("no answer")], ids=["answers", "is lost"]
)
def test_a_program_that_is_killed_voids_a_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Exception | None
) -> None:
    """Whatever an API server answers without its store, or not, says nothing about a change."""
    with ExitStack() as stack:
        dead = start(stack, ["sleep", "60"], logs=tmp_path)
        dead.stop()
        server = ApiServer(
            url="https://127.0.0.1:1",
            token="some",  # noqa: S106 - no secret
            certificate=tmp_path,
            kubeconfig=tmp_path,
            kubectl=tmp_path,
            service_account_key=tmp_path,
            folder=tmp_path,
            programs=(dead,),
        )
        monkeypatch.setattr(control_planes, "api_server", lambda _: nullcontext(server))

        def rehearse() -> None:
            with own(ApiServerAssets.in_folder(tmp_path)):
                if answer is not None:
                    raise answer

        with pytest.raises(StartError, match="sleep was killed by SIGKILL"):
            rehearse()


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "contexts: []\ncurrent-context: some\n", "current-context: some\n"],
    ids=["empty", "not YAML", "unknown context", "no contexts"],
)
def test_an_unusable_kubeconfig_is_one_sentence(tmp_path: Path, text: str) -> None:
    """A kubeconfig may have certificates of its user instead of a token, or be another file."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text, encoding="utf-8")
    with pytest.raises(ControlPlaneError, match="it must name a server"), given(kubeconfig):
        pass
