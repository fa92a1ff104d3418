//! Images as files: OCI layout directory, OCI archive, docker archive.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;

use crate::blob::{Descriptor, ImageSet, Index, Platform, json};
use crate::tarball::{Member, Writer};

/// An image under a name, such as `example.test/plain:1`.
pub type Named<'a> = (&'a str, &'a ImageSet);

/// Writing an image failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system refused.
    #[error("cannot write {path}: {source}; check space and permissions", path = .path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The image has no manifest for this platform, so a docker archive cannot name its layers.
    #[error("image {0} has no readable manifest for this host; export it as an OCI archive instead")]
    NoManifest(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LayoutVersion {
    image_layout_version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Files of an OCI layout (image-spec, image-layout), by relative path.
fn layout_files(images: &[Named<'_>]) -> BTreeMap<String, Bytes> {
    let mut files = BTreeMap::new();
    files.insert("oci-layout".into(), json(&LayoutVersion { image_layout_version: "1.0.0" }));
    let mut manifests = Vec::new();
    for (name, image) in images {
        let mut root: Descriptor = image.root().clone();
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        root.annotations.insert("org.opencontainers.image.ref.name".into(), tag.into());
        // containerd's importer takes the full name from here.
        root.annotations.insert("io.containerd.image.name".into(), (*name).into());
        manifests.push(root);
        for (digest, blob) in image.blobs() {
            files.insert(format!("blobs/{}", digest.replace(':', "/")), blob.data.clone());
        }
    }
    let index =
        Index { schema_version: 2, media_type: "application/vnd.oci.image.index.v1+json".into(), manifests };
    files.insert("index.json".into(), json(&index));
    files
}

fn tar_of(files: &BTreeMap<String, Bytes>) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut dirs: Vec<String> = Vec::new();
    for (name, data) in files {
        let mut at = 0;
        while let Some(slash) = name[at..].find('/') {
            at += slash + 1;
            if !dirs.contains(&name[..at].to_owned()) {
                dirs.push(name[..at].to_owned());
                writer.add(&member(&name[..at], b'5', 0o755, b""));
            }
        }
        writer.add(&member(name, b'0', 0o644, data));
    }
    writer.finish()
}

fn member<'a>(name: &'a str, kind: u8, mode: u32, data: &'a [u8]) -> Member<'a> {
    Member { name: name.as_bytes(), link: b"", kind, mode, uid: 0, gid: 0, device: (0, 0), data }
}

/// A tar of an OCI layout with these images.
pub fn oci_archive(images: &[Named<'_>]) -> Vec<u8> {
    tar_of(&layout_files(images))
}

/// A tar in the form of `docker save`, for the manifest of this host.
pub fn docker_archive(images: &[Named<'_>]) -> Result<Vec<u8>, ArchiveError> {
    let mut files = BTreeMap::new();
    let mut entries = Vec::new();
    for (name, image) in images {
        let manifest = image
            .manifest_for(&Platform::host())
            .ok_or_else(|| ArchiveError::NoManifest((*name).to_owned()))?;
        let mut put = |digest: &str, suffix: &str| {
            let path = format!("{}{suffix}", digest.trim_start_matches("sha256:"));
            if let Some(blob) = image.blob(digest) {
                files.insert(path.clone(), blob.data.clone());
            }
            path
        };
        let config = put(&manifest.config.digest, ".json");
        let layers = manifest.layers.iter().map(|l| put(&l.digest, "/layer.tar")).collect();
        entries.push(DockerEntry { config, repo_tags: vec![(*name).to_owned()], layers });
    }
    files.insert("manifest.json".into(), json(&entries));
    Ok(tar_of(&files))
}

/// Writes an OCI layout directory. `dir` must not exist; it appears whole or not at all.
pub fn write_layout(images: &[Named<'_>], dir: &Path) -> Result<(), ArchiveError> {
    let temporary = sibling(dir);
    let written = fill(&temporary, &layout_files(images)).and_then(|()| rename(&temporary, dir));
    if written.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    written
}

/// Writes `data` to `path` by way of a temporary name beside it. A device or a pipe is written to, never replaced.
pub fn write_file(path: &Path, data: &[u8]) -> Result<(), ArchiveError> {
    if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
        return fs::write(path, data).map_err(|source| ArchiveError::Io { path: path.to_owned(), source });
    }
    let temporary = sibling(path);
    let written = fs::write(&temporary, data)
        .map_err(|source| ArchiveError::Io { path: temporary.clone(), source })
        .and_then(|()| rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn sibling(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".tmp-{}", std::process::id()));
    path.with_file_name(name)
}

fn rename(from: &Path, to: &Path) -> Result<(), ArchiveError> {
    fs::rename(from, to).map_err(|source| ArchiveError::Io { path: to.to_owned(), source })
}

fn fill(dir: &Path, files: &BTreeMap<String, Bytes>) -> Result<(), ArchiveError> {
    for (name, data) in files {
        let path = dir.join(name);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, data))
            .map_err(|source| ArchiveError::Io { path: path.clone(), source })?;
    }
    Ok(())
}
