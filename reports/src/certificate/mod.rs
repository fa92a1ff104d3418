//! Certificates: a bundle that anyone can check and re-run.
//!
//! `attestation.json` is a DSSE envelope around an in-toto test-result statement. The statement names the digest of
//! the runtime and of `manifest.json`; the manifest names the digest of every other file; `journal.jsonl` is the run as
//! a hash chain, from which every report in the bundle can be made again, byte for byte. So each byte of the bundle
//! hangs on the signature. Building and checking work on file maps: reading and writing is the caller's.

mod documents;
mod dsse;
mod journal;
mod statement;
mod verify;

pub use dsse::{PAYLOAD_TYPE, key_pair};
pub use verify::{Check, Policy, Verification, verify};

use plimsoll_model::Run;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A bundle: path to content. Paths are relative, with `/`, in `[A-Za-z0-9._/-]`.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Name of the signed statement.
pub const ATTESTATION: &str = "attestation.json";
/// Name of the list of digests.
pub const MANIFEST: &str = "manifest.json";
/// Name of the run as a hash chain.
pub const JOURNAL: &str = "journal.jsonl";

/// What the vendor says of the product, as certification programmes ask for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Product {
    /// Name of the vendor.
    pub vendor: String,
    /// Name of the product.
    pub name: String,
    /// Version of the product.
    pub version: String,
    /// Its home page.
    pub website_url: String,
    /// Its source.
    pub repo_url: String,
    /// Its documentation.
    pub documentation_url: String,
    /// Its logo.
    pub product_logo_url: String,
    /// `runtime`, `distribution` or the programme's own word.
    #[serde(rename = "type")]
    pub kind: String,
    /// One or two sentences.
    pub description: String,
}

/// The harness that made the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Harness {
    /// Version.
    pub version: String,
    /// Commit of its source; empty when unknown.
    pub commit: String,
    /// Whether the source had changes that are in no commit.
    pub dirty: bool,
    /// SHA-256 of the executable.
    pub sha256: String,
    /// Whether fault injection was active.
    pub faults: bool,
}

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertifyError {
    /// The key cannot be used.
    #[error("the key cannot be used: {0}; it takes an ed25519 private key in PKCS #8 PEM")]
    Key(String),
    /// The run cannot be certified, whatever its outcomes.
    #[error("the run cannot be certified: {}", .0.join("; "))]
    Unfit(Vec<String>),
    /// A document could not be written.
    #[error("a document could not be written: {0}")]
    Write(String),
}

/// Builds the bundle. A run that failed can be certified as failed; a run that is not whole cannot be certified:
/// filters, a partition, retries, a missing footer, an unknown runtime digest.
pub fn build(
    run: &Run,
    product: &Product,
    harness: &Harness,
    private_pem: &str,
) -> Result<Vec<(String, Vec<u8>)>, CertifyError> {
    let unfit = unfit(run);
    if !unfit.is_empty() {
        return Err(CertifyError::Unfit(unfit));
    }
    let (journal, head) = journal::write(run).map_err(|e| CertifyError::Write(e.to_string()))?;
    let mut files = documents::all(run, harness);
    files.insert("PRODUCT.yaml".to_owned(), documents::product(product).into_bytes());
    files.insert(JOURNAL.to_owned(), journal.into_bytes());
    let manifest = manifest(&files);
    let statement = statement::write(run, &files, &manifest, &head);
    let envelope = dsse::sign(&statement, private_pem)?;
    files.insert(MANIFEST.to_owned(), manifest);
    files.insert(ATTESTATION.to_owned(), envelope);
    Ok(files.into_iter().collect())
}

/// The documents that follow from the run and the harness, for other layouts of the same facts.
pub(crate) fn documents(run: &Run, harness: &Harness) -> Files {
    documents::all(run, harness)
}

/// The vendor's words as `PRODUCT.yaml`.
pub(crate) fn product_yaml(product: &Product) -> String {
    documents::product(product)
}

/// What makes a run unfit for a certificate, apart from its outcomes.
pub(crate) fn unfit(run: &Run) -> Vec<String> {
    let header = &run.header;
    let mut why = Vec::new();
    let mut say = |when: bool, text: String| {
        if when {
            why.push(text);
        }
    };
    say(!run.is_complete(), "the run is incomplete".to_owned());
    say(!header.filters.is_empty(), "filters were active".to_owned());
    say(header.partition.is_some(), "it is one shard; merge all shards first".to_owned());
    say(!run.superseded.is_empty(), format!("{} attempts were retried", run.superseded.len()));
    say(header.targets.is_empty() || header.plan.is_empty(), "nothing was planned".to_owned());
    let missing = (header.plan.len() * header.targets.len()).saturating_sub(run.records.len());
    say(missing > 0, format!("{missing} planned cases have no result"));
    for target in &header.targets {
        let label = crate::text::one_line(&target.label);
        say(target.unfit.is_some(), format!("target {label} could not be tested"));
        let known = target.sha256.as_deref().is_some_and(is_sha256);
        say(target.spec.is_oci() && !known, format!("the digest of target {label} is unknown"));
        let swapped = run.footer.as_ref().is_some_and(|f| f.replaced.contains(&target.label));
        say(swapped, format!("target {label} was replaced during the run"));
        let faulty = target.spec.to_string().contains("PLIMSOLL_FAULT")
            || target.spec.locator.rsplit('/').next() == Some("plimsoll-faults");
        say(faulty, format!("target {label} has faults injected"));
    }
    why
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Digest and size of every file, in the order of names.
fn manifest(files: &Files) -> Vec<u8> {
    let mut text = String::from("{\"files\":{");
    for (i, (name, content)) in files.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}\n{}:{{\"sha256\":\"{}\",\"size\":{}}}",
            serde_json::Value::from(name.as_str()),
            sha256_hex(content),
            content.len()
        );
    }
    text.push_str("\n}}\n");
    text.into_bytes()
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}
