//! DSSE envelopes signed with ed25519, in one canonical encoding: any other bytes are refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::{CertifyError, sha256_hex};

/// The media type of in-toto statements.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    keyid: String,
    sig: String,
}

/// Makes a key pair from 32 random bytes: the private key as PKCS #8 PEM, the public key as SPKI PEM.
pub fn key_pair(seed: &[u8; 32]) -> Result<(String, String), CertifyError> {
    let key = SigningKey::from_bytes(seed);
    let private = key.to_pkcs8_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF);
    let private = private.map_err(|e| CertifyError::Key(e.to_string()))?;
    let public = key.verifying_key().to_public_key_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF);
    Ok((private.to_string(), public.map_err(|e| CertifyError::Key(e.to_string()))?))
}

/// The id of a public key: SHA-256 of its raw bytes.
fn key_id(key: &VerifyingKey) -> String {
    sha256_hex(key.as_bytes())
}

/// What is signed: the pre-authentication encoding of DSSE, version 1.
fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Signs a payload with a private key in PKCS #8 PEM.
pub(super) fn sign(payload: &[u8], private_pem: &str) -> Result<Vec<u8>, CertifyError> {
    let key = SigningKey::from_pkcs8_pem(private_pem).map_err(|e| CertifyError::Key(e.to_string()))?;
    let signature = key.sign(&encoded(PAYLOAD_TYPE, payload));
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: vec![Signed {
            keyid: key_id(&key.verifying_key()),
            sig: STANDARD.encode(signature.to_bytes()),
        }],
    };
    Ok(canonical(&envelope))
}

fn canonical(envelope: &Envelope) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(envelope).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Opens an envelope: canonical bytes, the right type, exactly one signature, made by this key. Gives the payload.
pub(super) fn open(bytes: &[u8], public_pem: &str) -> Result<Vec<u8>, String> {
    let key = VerifyingKey::from_public_key_pem(public_pem)
        .map_err(|e| format!("the public key is unusable: {e}"))?;
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| format!("no DSSE envelope: {e}"))?;
    if canonical(&envelope) != bytes {
        return Err("the envelope is not in its canonical encoding".to_owned());
    }
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(format!("the payload type is not {PAYLOAD_TYPE}"));
    }
    let [signed] = envelope.signatures.as_slice() else {
        return Err(format!("{} signatures instead of one", envelope.signatures.len()));
    };
    if signed.keyid != key_id(&key) {
        return Err("it was signed with another key".to_owned());
    }
    let payload = STANDARD.decode(&envelope.payload).map_err(|e| format!("the payload is no base64: {e}"))?;
    let raw = STANDARD.decode(&signed.sig).map_err(|e| format!("the signature is no base64: {e}"))?;
    let signature = Signature::from_slice(&raw).map_err(|e| format!("the signature is malformed: {e}"))?;
    key.verify_strict(&encoded(PAYLOAD_TYPE, &payload), &signature)
        .map_err(|_| "the signature does not fit the payload".to_owned())?;
    Ok(payload)
}
