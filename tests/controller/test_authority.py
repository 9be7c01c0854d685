"""The certificate authority's files: killed while they are made, and what is missing."""

from pathlib import Path

import pytest
from cryptography import x509

from edgewright.controller.errors import CertificateAuthorityError
from edgewright.controller.identity.authority import CertificateAuthority
from tests.controller.test_trust_repository import Killed, KilledAt


def lists_of(authority: CertificateAuthority) -> list[x509.CertificateRevocationList]:
    """The lists in ``crl.pem``, that of the issuing authority first."""
    end = b"-----END X509 CRL-----\n"
    parts = authority.revocation_lists.read_bytes().split(end)
    return [x509.load_pem_x509_crl(part + end) for part in parts if part.strip()]


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_killed_while_an_authority_is_made(tmp_path: Path, moment: str) -> None:
    """Killed at any write of the first start, the next one has the authority whole, with its lists."""
    for at in range(1, 20):
        folder = tmp_path / str(at)
        try:
            CertificateAuthority(folder / "ca", KilledAt(at, moment)).ensure()
        except Killed:
            again = CertificateAuthority(folder / "ca")
            again.ensure()
            assert len(lists_of(again)) == 2
            (folder / "ca" / "root.pem").rename(folder / "elsewhere.pem")
            again.publish_revoked(())
            continue
        break
    # Three keys and certificates, the bundle, two lists, the notice, and the two leaves.
    assert at == 9


def test_no_list_of_a_root_that_is_elsewhere(tmp_path: Path) -> None:
    """Where both the root's key and its list are gone, E068 says so."""
    authority = CertificateAuthority(tmp_path / "ca")
    authority.ensure()
    for name in ("root.pem", "root-crl.pem"):
        (tmp_path / "ca" / name).unlink()
    with pytest.raises(CertificateAuthorityError, match=r"E068 .*root-crl"):
        authority.publish_revoked(())
