//! Descriptors, and an image as a graph of blobs.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `sha256:` and 64 hexadecimal digits.
pub fn digest_of(data: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(data) {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// Operating system and processor that an image is for (image-spec, image index).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH name.
    pub architecture: String,
    /// GOOS name.
    pub os: String,
    /// Such as `v7` for arm.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub variant: Option<String>,
}

impl Platform {
    /// A platform without a variant.
    pub fn new(os: &str, architecture: &str) -> Self {
        Self { architecture: architecture.into(), os: os.into(), variant: None }
    }

    /// Linux on the processor that this program was built for.
    pub fn host() -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self::new("linux", arch)
    }
}

/// Points at a blob (image-spec, content descriptor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of the content.
    pub media_type: String,
    /// What the content claims to hash to.
    pub digest: String,
    /// Claimed length in bytes.
    pub size: u64,
    /// Present in an index.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub platform: Option<Platform>,
    /// Free notes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// An honest descriptor of `data`.
    pub fn of(media_type: impl Into<String>, data: &[u8]) -> Self {
        Self {
            media_type: media_type.into(),
            digest: digest_of(data),
            size: data.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// A root (manifest or index) and every blob that it reaches, by claimed digest.
///
/// In an honest image each key is the digest of its value; see [`ImageSet::lies`].
#[derive(Clone, Debug)]
pub struct ImageSet {
    pub(crate) root: Descriptor,
    pub(crate) blobs: BTreeMap<String, Blob>,
}

/// Content with its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Type of the content.
    pub media_type: String,
    /// The content.
    pub data: Bytes,
}

impl ImageSet {
    /// Starts a set with its root manifest or index.
    pub(crate) fn with_root(root: Descriptor, data: Bytes) -> Self {
        let blob = Blob { media_type: root.media_type.clone(), data };
        let blobs = BTreeMap::from([(root.digest.clone(), blob)]);
        Self { root, blobs }
    }

    pub(crate) fn insert(&mut self, descriptor: &Descriptor, data: Bytes) {
        let blob = Blob { media_type: descriptor.media_type.clone(), data };
        self.blobs.insert(descriptor.digest.clone(), blob);
    }

    /// The manifest or index that names the image.
    pub fn root(&self) -> &Descriptor {
        &self.root
    }

    /// Every blob by claimed digest, in order of digest.
    pub fn blobs(&self) -> impl Iterator<Item = (&str, &Blob)> {
        self.blobs.iter().map(|(digest, blob)| (digest.as_str(), blob))
    }

    /// One blob by claimed digest.
    pub fn blob(&self, digest: &str) -> Option<&Blob> {
        self.blobs.get(digest)
    }

    /// Bytes of all blobs together.
    pub fn size(&self) -> u64 {
        self.blobs.values().map(|b| b.data.len() as u64).sum()
    }

    /// Claimed digests whose content hashes to something else.
    pub fn lies(&self) -> Vec<String> {
        self.blobs()
            .filter(|(digest, blob)| digest_of(&blob.data) != **digest)
            .map(|(d, _)| d.into())
            .collect()
    }

    /// Digest of the configuration of the manifest for this host: what a CRI server calls image id.
    /// `None` if no manifest of the set can be read.
    pub fn config_digest(&self) -> Option<String> {
        let manifest = self.manifest_for(&Platform::host())?;
        Some(manifest.config.digest)
    }

    /// The manifest for `platform`; the root itself when it is no index.
    pub fn manifest_for(&self, platform: &Platform) -> Option<Manifest> {
        let root = self.blob(&self.root.digest)?;
        if !root.media_type.contains("index") && !root.media_type.contains("list") {
            return serde_json::from_slice(&root.data).ok();
        }
        let index: Index = serde_json::from_slice(&root.data).ok()?;
        let entry = index.manifests.iter().find(|d| {
            d.platform
                .as_ref()
                .is_some_and(|p| p.os == platform.os && p.architecture == platform.architecture)
        })?;
        serde_json::from_slice(&self.blob(&entry.digest)?.data).ok()
    }
}

/// Image manifest (image-spec, manifest; docker schema 2 has the same shape).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Its own type.
    pub media_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// Layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// Free notes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub annotations: BTreeMap<String, String>,
}

/// Image index (image-spec) or docker manifest list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Its own type.
    #[serde(default)]
    pub media_type: String,
    /// One entry per platform.
    pub manifests: Vec<Descriptor>,
}

/// JSON of one of our own types, whose fields have a fixed order.
pub(crate) fn json<T: Serialize>(value: &T) -> Bytes {
    // The types here have string keys only, so this cannot fail.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}
