"""A Sigstore instance of our own: certificates, timestamps and attestations that gh can verify.

Everything is signed with real keys, in the formats that GitHub's own instance uses; only the root
that one has to trust is ours.
"""

import hashlib
import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Annotated, TypeAlias

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_ECDSA = ec.ECDSA(hashes.SHA256())
_FULCIO = "1.3.6.1.4.1.57264.1"
_ISSUER = "https://token.actions.githubusercontent.com"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_VALID_FOR = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a workflow, as its certificate describes it.

    Attributes:
        workflow: OWNER/NAME/PATH of the workflow that signs; called by one of the source.
        workflow_ref: Git ref of that workflow.
        source: OWNER/NAME of the repository that was built.
        ref: Git ref that was built.
        commit: Full SHA of the commit that was built.
        runner: Who operates the machine: `github-hosted` or `self-hosted`.
    """

    workflow: str
    workflow_ref: str = "refs/heads/main"
    source: str
    ref: str = "refs/heads/main"
    commit: str
    runner: str = "github-hosted"

    @property
    def identity(self) -> str:
        """The name that the certificate is issued for."""
        return f"https://github.com/{self.workflow}@{self.workflow_ref}"

    def extensions(self) -> dict[int, str]:
        """Return Fulcio's extensions by the last number of their OID (sigstore/fulcio oid-info)."""
        repository = f"https://github.com/{self.source}"
        caller = f"{repository}/.github/workflows/service.yml@{self.ref}"
        return {
            8: _ISSUER,
            9: self.identity,
            10: "c" * 40,
            11: self.runner,
            12: repository,
            13: self.commit,
            14: self.ref,
            15: "1",
            16: repository.rpartition("/")[0],
            17: "2",
            18: caller,
            19: self.commit,
            20: "push",
            21: f"{repository}/actions/runs/3/attempts/1",
            22: "public",
        }


class Sigstore:
    """A certificate authority and a timestamp authority, which issue attestations.

    Args:
        organization: Name of the instance, by which gh finds the root of a certificate.
    """

    def __init__(self, organization: str = "Test") -> None:
        self._authority = _Signer.root(organization)
        self._clock = _Signer.root(f"{organization} time")
        self._timestamps = self._clock.issue(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        )

    def trusted_root(self) -> str:
        """Return the trusted_root.jsonl that makes a verifier trust this instance."""
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "certificateAuthorities": [_trusted(self._authority)],
            "timestampAuthorities": [_trusted(self._timestamps, self._clock)],
        }
        return json.dumps(root) + "\n"

    def attest(self, run: Run, *, subject: str, digest: str) -> str:
        """Return the bundle with which a run attests that it has built an image.

        Args:
            run: The run that signs.
            subject: Name of the image, without tag.
            digest: Its digest, `sha256:…`.
        """
        payload = _statement(subject, digest)
        signer = self._authority.issue(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(run.identity)]),
            *(
                x509.UnrecognizedExtension(
                    ObjectIdentifier(f"{_FULCIO}.{number}"), asn1.encode_der(value)
                )
                for number, value in run.extensions().items()
            ),
        )
        length, kind = len(payload), _PAYLOAD_TYPE
        signature = signer.sign(f"DSSEv1 {len(kind)} {kind} {length} ".encode() + payload)
        timestamp = _timestamp(self._timestamps, signature)
        bundle = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": _raw(signer.certificate),
                "timestampVerificationData": {
                    "rfc3161Timestamps": [{"signedTimestamp": _base64(timestamp)}]
                },
            },
            "dsseEnvelope": {
                "payload": _base64(payload),
                "payloadType": kind,
                "signatures": [{"sig": _base64(signature)}],
            },
        }
        return json.dumps(bundle)


@dataclass(frozen=True)
class _Signer:
    """A key with its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def root(cls, organization: str) -> "_Signer":
        """Make a certificate authority that signs itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
        return cls(
            key,
            _certificate(key, name, key, name, x509.BasicConstraints(ca=True, path_length=None)),
        )

    def issue(self, *extensions: x509.ExtensionType) -> "_Signer":
        """Make a key and certify it."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([])
        issuer = self.certificate.subject
        return _Signer(key, _certificate(key, name, self.key, issuer, *extensions))

    def sign(self, content: bytes) -> bytes:
        """Return the signature of a content."""
        return self.key.sign(content, _ECDSA)


def _certificate(
    key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID_FOR)
        .not_valid_after(now + _VALID_FOR)
    )
    for extension in extensions:
        critical = not isinstance(extension, x509.UnrecognizedExtension)
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, hashes.SHA256())


def _statement(subject: str, digest: str) -> bytes:
    algorithm, _, value = digest.partition(":")
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": subject, "digest": {algorithm: value}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {},
    }
    return json.dumps(statement).encode()


def _trusted(*chain: _Signer) -> dict[str, object]:
    return {
        "certChain": {"certificates": [_raw(signer.certificate) for signer in chain]},
        "validFor": {"start": chain[-1].certificate.not_valid_before_utc.isoformat()},
    }


def _raw(certificate: x509.Certificate) -> dict[str, str]:
    return {"rawBytes": _base64(certificate.public_bytes(Encoding.DER))}


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


# RFC 3161's TimeStampResp, and of RFC 5652 what it is made of.


@asn1.sequence
class _Algorithm:
    algorithm: ObjectIdentifier


@asn1.sequence
class _Imprint:
    algorithm: _Algorithm
    digest: bytes


@asn1.sequence
class _TimestampInfo:
    version: int
    policy: ObjectIdentifier
    imprint: _Imprint
    serial_number: int
    time: asn1.GeneralizedTime


@asn1.sequence
class _ContentType:
    type: ObjectIdentifier
    values: asn1.SetOf[ObjectIdentifier]


@asn1.sequence
class _MessageDigest:
    type: ObjectIdentifier
    values: asn1.SetOf[bytes]


_Attributes: TypeAlias = asn1.SetOf[asn1.TLV]


@asn1.sequence
class _Identifier:
    issuer: asn1.TLV
    serial_number: int


@asn1.sequence
class _SignerInfo:
    version: int
    signer: _Identifier
    digest_algorithm: _Algorithm
    attributes: Annotated[_Attributes, asn1.Implicit(0)]
    signature_algorithm: _Algorithm
    signature: bytes


@asn1.sequence
class _Content:
    type: ObjectIdentifier
    content: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class _SignedData:
    version: int
    digest_algorithms: asn1.SetOf[_Algorithm]
    content: _Content
    certificates: Annotated[asn1.SetOf[x509.Certificate], asn1.Implicit(0)]
    signers: asn1.SetOf[_SignerInfo]


@asn1.sequence
class _Token:
    type: ObjectIdentifier
    content: Annotated[_SignedData, asn1.Explicit(0)]


@asn1.sequence
class _Status:
    status: int


@asn1.sequence
class _Response:
    status: _Status
    token: _Token


_SHA256 = _Algorithm(algorithm=ObjectIdentifier("2.16.840.1.101.3.4.2.1"))
_ECDSA_SHA256 = _Algorithm(algorithm=ObjectIdentifier("1.2.840.10045.4.3.2"))
_TIMESTAMP_INFO = ObjectIdentifier("1.2.840.113549.1.9.16.1.4")


def _timestamp(authority: _Signer, content: bytes) -> bytes:
    """Return the response in which a timestamp authority says that it has seen a content now."""
    info = asn1.encode_der(
        _TimestampInfo(
            version=1,
            policy=ObjectIdentifier(f"{_FULCIO.rpartition('.')[0]}.2"),
            imprint=_Imprint(algorithm=_SHA256, digest=hashlib.sha256(content).digest()),
            serial_number=1,
            time=asn1.GeneralizedTime(datetime.now(timezone.utc)),
        )
    )
    attributes = asn1.SetOf(
        [
            asn1.decode_der(asn1.TLV, asn1.encode_der(attribute))
            for attribute in (
                _ContentType(
                    type=ObjectIdentifier("1.2.840.113549.1.9.3"),
                    values=asn1.SetOf([_TIMESTAMP_INFO]),
                ),
                _MessageDigest(
                    type=ObjectIdentifier("1.2.840.113549.1.9.4"),
                    values=asn1.SetOf([hashlib.sha256(info).digest()]),
                ),
            )
        ]
    )
    certificate = authority.certificate
    signer = _SignerInfo(
        version=1,
        signer=_Identifier(
            issuer=asn1.decode_der(asn1.TLV, certificate.issuer.public_bytes()),
            serial_number=certificate.serial_number,
        ),
        digest_algorithm=_SHA256,
        attributes=attributes,
        signature_algorithm=_ECDSA_SHA256,
        signature=authority.sign(asn1.encode_der(attributes)),
    )
    signed = _SignedData(
        version=3,
        digest_algorithms=asn1.SetOf([_SHA256]),
        content=_Content(type=_TIMESTAMP_INFO, content=info),
        certificates=asn1.SetOf([certificate]),
        signers=asn1.SetOf([signer]),
    )
    token = _Token(type=ObjectIdentifier("1.2.840.113549.1.7.2"), content=signed)
    return asn1.encode_der(_Response(status=_Status(status=0), token=token))
