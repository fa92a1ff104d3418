//! An image: a configuration and layers.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::blob::{Descriptor, ImageSet, Index, Manifest, Platform, digest_of, json};
use crate::{Compression, Layer};

/// Which family of media types an image uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// `application/vnd.oci.image...`
    #[default]
    Oci,
    /// `application/vnd.docker.distribution...`, schema 2.
    Docker,
}

impl Family {
    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self, compression: Compression) -> String {
        match (self, compression) {
            (Self::Docker, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip".into(),
            (Self::Docker, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar".into(),
            // Docker's family has no type for zstd; the field uses OCI's there.
            _ => format!("application/vnd.oci.image.layer.v1.tar{}", compression.oci_suffix()),
        }
    }
}

/// Execution parameters of an image (image-spec, config, `config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(clippy::zero_sized_map_values, reason = "the specification writes sets as maps to {}")]
pub struct Config {
    /// `user[:group]`, names or numbers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// First words of the command line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Words after the entrypoint unless the caller gives others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories that want a volume.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// Where the command starts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Free notes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the command to end.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
}

/// The `{}` that the specification uses as a set member's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[derive(Serialize)]
struct ImageJson<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
    config: &'a Config,
    rootfs: RootFs,
    history: Vec<History>,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<String>,
}

#[derive(Serialize)]
struct History {
    created: &'static str,
    created_by: String,
}

const CREATED: &str = "2000-01-01T00:00:00Z";

/// An image under construction.
#[derive(Clone, Debug)]
pub struct Image {
    config: Config,
    platform: Platform,
    family: Family,
    compression: Compression,
    layers: Vec<(Layer, Option<Compression>)>,
    annotations: BTreeMap<String, String>,
    diff_ids: Option<Vec<String>>,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            config: Config::default(),
            platform: Platform::host(),
            family: Family::Oci,
            compression: Compression::Gzip,
            layers: Vec::new(),
            annotations: BTreeMap::new(),
            diff_ids: None,
        }
    }
}

impl Image {
    /// An image for this host without layers: OCI types, gzip.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push((layer, None));
        self
    }

    /// Puts a layer on top with its own compression.
    #[must_use]
    pub fn layer_as(mut self, layer: Layer, compression: Compression) -> Self {
        self.layers.push((layer, Some(compression)));
        self
    }

    /// Compression of the layers that have no own one.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Family of media types.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Platform that the image claims to be for.
    #[must_use]
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// `user[:group]`.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        self.config.user = user.into();
        self
    }

    /// Adds one variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.config.env.push(format!("{name}={value}"));
        self
    }

    /// First words of the command line.
    #[must_use]
    pub fn entrypoint<I: IntoIterator<Item = S>, S: Into<String>>(mut self, words: I) -> Self {
        self.config.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// Default further words.
    #[must_use]
    pub fn cmd<I: IntoIterator<Item = S>, S: Into<String>>(mut self, words: I) -> Self {
        self.config.cmd = words.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a volume.
    #[must_use]
    pub fn volume(mut self, path: &str) -> Self {
        self.config.volumes.insert(path.into(), Empty {});
        self
    }

    /// Adds an exposed port such as `80/tcp`.
    #[must_use]
    pub fn expose(mut self, port: &str) -> Self {
        self.config.exposed_ports.insert(port.into(), Empty {});
        self
    }

    /// Working directory.
    #[must_use]
    pub fn working_dir(mut self, path: &str) -> Self {
        self.config.working_dir = path.into();
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.config.labels.insert(name.into(), value.into());
        self
    }

    /// Stop signal, by name or number.
    #[must_use]
    pub fn stop_signal(mut self, signal: &str) -> Self {
        self.config.stop_signal = signal.into();
        self
    }

    /// Adds a manifest annotation.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.into(), value.into());
        self
    }

    /// Makes the configuration claim these diff ids instead of the true ones.
    #[must_use]
    pub fn claim_diff_ids(mut self, diff_ids: Vec<String>) -> Self {
        self.diff_ids = Some(diff_ids);
        self
    }

    /// Makes the blobs: layers, configuration and manifest.
    pub fn build(&self) -> ImageSet {
        let mut layers = Vec::new();
        let mut blobs = Vec::new();
        let mut diff_ids = Vec::new();
        for (layer, own) in &self.layers {
            let compression = own.unwrap_or(self.compression);
            let tar = layer.tar();
            diff_ids.push(digest_of(&tar));
            let data = Bytes::from(compression.apply(&tar));
            let descriptor = Descriptor::of(self.family.layer(compression), &data);
            layers.push(descriptor.clone());
            blobs.push((descriptor, data));
        }
        let config = self.config_json(self.diff_ids.clone().unwrap_or(diff_ids));
        let config_descriptor = Descriptor::of(self.family.config(), &config);
        let manifest = json(&Manifest {
            schema_version: 2,
            media_type: self.family.manifest().into(),
            config: config_descriptor.clone(),
            layers,
            annotations: self.annotations.clone(),
        });
        let mut root = Descriptor::of(self.family.manifest(), &manifest);
        root.platform = Some(self.platform.clone());
        let mut set = ImageSet::with_root(root, manifest);
        set.insert(&config_descriptor, config);
        for (descriptor, data) in blobs {
            set.insert(&descriptor, data);
        }
        set
    }

    fn config_json(&self, diff_ids: Vec<String>) -> Bytes {
        let history = (0..self.layers.len())
            .map(|n| History { created: CREATED, created_by: format!("plimsoll layer {n}") })
            .collect();
        json(&ImageJson {
            created: CREATED,
            architecture: &self.platform.architecture,
            os: &self.platform.os,
            variant: self.platform.variant.as_deref(),
            config: &self.config,
            rootfs: RootFs { kind: "layers", diff_ids },
            history,
        })
    }
}

/// An index over images of several platforms, each of which says its own in its root descriptor.
pub fn index(family: Family, images: &[ImageSet]) -> ImageSet {
    let index = json(&Index {
        schema_version: 2,
        media_type: family.index().into(),
        manifests: images.iter().map(|i| i.root().clone()).collect(),
    });
    let mut set = ImageSet::with_root(Descriptor::of(family.index(), &index), index);
    for image in images {
        set.blobs.extend(image.blobs.clone());
    }
    set
}
