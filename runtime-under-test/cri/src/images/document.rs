//! Manifests, indexes and image configs: the parts that the server reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use super::reference::check_digest;
use crate::error::{Error, Result};

/// A descriptor of an OCI or Docker document.
#[derive(Debug, Clone, Deserialize)]
pub struct Descriptor {
    /// Media type; Docker's and OCI's names are both taken.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// `sha256:...`
    pub digest: String,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
    /// Only in indexes.
    pub platform: Option<Platform>,
    /// Annotations such as `org.opencontainers.image.ref.name` in a layout's index.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "null_is_default")]
    urls: Vec<String>,
}

/// For whom an entry of an index is.
#[derive(Debug, Clone, Deserialize)]
pub struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

/// An image manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The image config.
    pub config: Descriptor,
    /// Layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// Either kind of top document.
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images by platform.
    Index(Vec<Descriptor>),
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "schemaVersion", default)]
    schema_version: u32,
    #[serde(rename = "mediaType", default)]
    media_type: String,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Reads a manifest or an index. A document that could be both is refused (two-parser confusion).
pub fn parse(bytes: &[u8]) -> Result<Document> {
    let bad = |why: &str| Error::invalid(format!("the image manifest is not usable: {why}"));
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| bad(&error.to_string()))?;
    if raw.schema_version != 2 {
        return Err(bad("schemaVersion is not 2 (schema 1 is not supported; push the image again)"));
    }
    let wants_index =
        raw.media_type.ends_with("image.index.v1+json") || raw.media_type.ends_with("manifest.list.v2+json");
    match (raw.config, raw.layers, raw.manifests) {
        (Some(config), Some(layers), None) if !wants_index => {
            check_digest(&config.digest)?;
            if layers.len() > 500 {
                return Err(bad("more than 500 layers"));
            }
            for layer in &layers {
                check_digest(&layer.digest)?;
                if !layer.urls.is_empty() || layer.media_type.contains("foreign") {
                    return Err(bad("a layer lives outside the registry (foreign layer)"));
                }
                if !layer.media_type.contains("tar") {
                    return Err(bad(&format!(
                        "layer media type {:?} is not a file system layer",
                        layer.media_type
                    )));
                }
            }
            Ok(Document::Manifest(Manifest { config, layers }))
        }
        (None, None, Some(manifests)) => Ok(Document::Index(manifests)),
        _ => Err(bad("neither an image manifest nor an index")),
    }
}

/// The entry for this machine; the first match wins, as the image-spec says.
pub fn choose(index: &[Descriptor]) -> Result<&Descriptor> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    };
    let fits = |platform: &Platform| platform.os == "linux" && platform.architecture == arch;
    let plain = |platform: &Platform| {
        platform.variant.is_empty() || platform.variant == "v8" || platform.variant == "v1"
    };
    let mut candidates = index.iter().filter(|d| d.platform.as_ref().is_some_and(fits));
    let best = candidates
        .clone()
        .find(|d| d.platform.as_ref().is_some_and(plain))
        .or_else(|| candidates.next())
        .or_else(|| index.iter().find(|d| d.platform.is_none()).filter(|_| index.len() == 1));
    best.ok_or_else(|| Error::not_found(format!("the image has no variant for linux/{arch}")))
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    d: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// The image config as far as it steers containers.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ImageConfig {
    /// Defaults of the process.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: Defaults,
    /// Layers.
    #[serde(default)]
    pub rootfs: RootFs,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// `config` of an image config.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Defaults {
    /// `user[:group]`.
    #[serde(deserialize_with = "null_is_default")]
    pub user: String,
    /// `KEY=value`.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// Program and fixed arguments.
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Default arguments.
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Directory of the process.
    #[serde(deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Signal by name or number.
    #[serde(deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// Paths that hold volumes.
    #[serde(deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
}

/// `rootfs` of an image config.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RootFs {
    /// Digests of the uncompressed layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<String>,
}

/// Reads and checks an image config for a manifest with this many layers.
pub fn parse_config(bytes: &[u8], layers: usize) -> Result<ImageConfig> {
    let config: ImageConfig = serde_json::from_slice(bytes)
        .map_err(|error| Error::invalid(format!("the image config is not usable: {error}")))?;
    if config.rootfs.diff_ids.len() != layers {
        return Err(Error::invalid(format!(
            "the image config lists {} diffIDs where the manifest has {layers} layers; refused",
            config.rootfs.diff_ids.len()
        )));
    }
    for diff in &config.rootfs.diff_ids {
        check_digest(diff)?;
    }
    if !config.os.is_empty() && config.os != "linux" {
        return Err(Error::invalid(format!(
            "the image is for {}/{}, not for linux",
            config.os, config.architecture
        )));
    }
    Ok(config)
}

/// The user part of `USER` as the CRI splits it: a number or a name, never both (`image.status.uid-username-exclusive`).
pub fn split_user(user: &str) -> (Option<i64>, String) {
    let name = user.split(':').next().unwrap_or_default();
    match name.parse::<i64>() {
        Ok(uid) => (Some(uid), String::new()),
        Err(_) => (None, name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_and_old_documents_are_refused() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let both =
            format!(r#"{{"schemaVersion":2,"config":{{"digest":"{digest}"}},"layers":[],"manifests":[]}}"#);
        assert!(parse(both.as_bytes()).is_err());
        assert!(parse(br#"{"schemaVersion":1,"fsLayers":[]}"#).is_err());
        let good = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{digest}"}},"layers":[]}}"#);
        assert!(matches!(parse(good.as_bytes()), Ok(Document::Manifest(_))));
    }

    #[test]
    fn users_are_split() {
        assert_eq!(split_user("1000:50"), (Some(1000), String::new()));
        assert_eq!(split_user("web:adm"), (None, "web".to_owned()));
        assert_eq!(split_user(""), (None, String::new()));
    }

    #[test]
    fn null_fields_are_empty() {
        let config = parse_config(
            br#"{"config":{"Env":null,"Cmd":null,"Volumes":null},"rootfs":{"diff_ids":null}}"#,
            0,
        )
        .unwrap();
        assert!(config.config.env.is_empty());
    }
}
