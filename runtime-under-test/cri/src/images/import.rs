//! Import of OCI image layouts (directory or tar) and of `docker save` archives, without any network.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::document::{self, Descriptor, Document, choose, parse_config};
use super::layer::{self, chain_ids, read_info};
use super::reference::{Reference, check_digest};
use super::registry::DOCUMENT_LIMIT;
use super::store::{ImageStore, Record};
use super::unpack::{Bounded, Limits};
use crate::error::{Context as _, Error, Result};
use crate::util::{self, hex};

/// Imports everything in `source` and returns the images. `name` names the image where the source does not.
pub fn import(store: &Arc<ImageStore>, source: &Path, name: Option<&str>) -> Result<Vec<Record>> {
    let _busy = store.busy.try_read().ok();
    if source.is_dir() {
        return import_dir(store, source, name);
    }
    let scratch = store.scratch()?;
    util::make_dir(&scratch, 0o700)?;
    let result = extract(source, &scratch).and_then(|()| import_dir(store, &scratch, name));
    util::remove_dir(&scratch)?;
    result
}

/// Only regular files and directories, only plain relative names: an archive needs no more.
fn extract(source: &Path, target: &Path) -> Result<()> {
    let file = File::open(source).with_path("opening", source)?;
    let size = file.metadata().with_path("reading", source)?.len();
    let stream = layer::decompress(file).with_path("decompressing", source)?;
    let mut archive = tar::Archive::new(Bounded::new(stream, &Limits::default(), size));
    for (count, entry) in archive.entries().with_path("reading", source)?.enumerate() {
        let mut entry = entry.with_path("reading", source)?;
        if count > 10_000 {
            return Err(Error::invalid("the archive has more than 10000 files; not an image archive"));
        }
        let path = entry.path().with_path("reading", source)?.into_owned();
        let plain = path
            .components()
            .all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir));
        if !plain {
            return Err(Error::invalid(format!(
                "the archive has a file {} outside itself; refused",
                path.display()
            )));
        }
        let target = target.join(path);
        if entry.header().entry_type().is_file() {
            if let Some(parent) = target.parent() {
                util::make_dir(parent, 0o700)?;
            }
            let mut out = File::create(&target).with_path("creating", &target)?;
            std::io::copy(&mut entry, &mut out).with_path("writing", &target)?;
        } else if entry.header().entry_type().is_symlink() || entry.header().entry_type().is_hard_link() {
            // `docker save` of old links equal layers; only inside one directory level, never followed outside.
            link_layer(&entry, &target)?;
        }
    }
    Ok(())
}

fn link_layer<R: std::io::Read>(entry: &tar::Entry<'_, R>, target: &Path) -> Result<()> {
    let link = entry.link_name().doing("reading a link")?.unwrap_or_default().into_owned();
    let parts: Vec<_> = link.components().collect();
    let inside = matches!(
        parts.as_slice(),
        [std::path::Component::ParentDir, std::path::Component::Normal(_), std::path::Component::Normal(_)]
    );
    let (true, Some(parent)) = (inside, target.parent()) else {
        return Err(Error::invalid(format!("the archive links to {}; refused", link.display())));
    };
    util::make_dir(parent, 0o700)?;
    std::os::unix::fs::symlink(&link, target).with_path("linking", target)
}

fn import_dir(store: &Arc<ImageStore>, dir: &Path, name: Option<&str>) -> Result<Vec<Record>> {
    if dir.join("index.json").exists() && dir.join("oci-layout").exists() {
        import_layout(store, dir, name)
    } else if dir.join("manifest.json").exists() {
        import_docker(store, dir, name)
    } else {
        Err(Error::invalid(format!(
            "{}: neither an OCI image layout (oci-layout, index.json) nor a docker archive (manifest.json)",
            dir.display()
        )))
    }
}

fn import_layout(store: &Arc<ImageStore>, dir: &Path, name: Option<&str>) -> Result<Vec<Record>> {
    let Document::Index(entries) = document::parse(&read_small(&dir.join("index.json"))?)? else {
        return Err(Error::invalid("index.json is not an index"));
    };
    let mut out = Vec::new();
    for entry in &entries {
        let given = name.map(str::to_owned).or_else(|| {
            let full = entry.annotations.get("io.containerd.image.name");
            full.or_else(|| entry.annotations.get("org.opencontainers.image.ref.name")).cloned()
        });
        let names: Vec<Reference> = given.iter().map(|text| Reference::parse(text)).collect::<Result<_>>()?;
        let mut bytes = read_blob(dir, entry)?;
        if let Document::Index(inner) = document::parse(&bytes)? {
            bytes = read_blob(dir, choose(&inner)?)?;
        }
        let Document::Manifest(manifest) = document::parse(&bytes)? else {
            return Err(Error::invalid("an index inside an index inside an index; not supported"));
        };
        let config_bytes = read_blob(dir, &manifest.config)?;
        let layers: Vec<PathBuf> =
            manifest.layers.iter().map(|l| blob_path(dir, &l.digest)).collect::<Result<_>>()?;
        for (layer, path) in manifest.layers.iter().zip(&layers) {
            check_file(path, &layer.digest)?;
        }
        out.push(install(store, &config_bytes, &layers, &names, &entry.digest)?);
    }
    Ok(out)
}

fn import_docker(store: &Arc<ImageStore>, dir: &Path, name: Option<&str>) -> Result<Vec<Record>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Item {
        config: String,
        repo_tags: Option<Vec<String>>,
        layers: Vec<String>,
    }
    let items: Vec<Item> = serde_json::from_slice(&read_small(&dir.join("manifest.json"))?)
        .map_err(|error| Error::invalid(format!("manifest.json of the archive: {error}")))?;
    let mut out = Vec::new();
    for item in items {
        let tags = name.map_or_else(|| item.repo_tags.unwrap_or_default(), |name| vec![name.to_owned()]);
        let names: Vec<Reference> = tags.iter().map(|text| Reference::parse(text)).collect::<Result<_>>()?;
        let config_bytes = read_small(&inside(dir, &item.config)?)?;
        let layers: Vec<PathBuf> =
            item.layers.iter().map(|layer| inside(dir, layer)).collect::<Result<_>>()?;
        let digest = format!("sha256:{}", hex(&Sha256::digest(&config_bytes)));
        out.push(install(store, &config_bytes, &layers, &names, &digest)?);
    }
    Ok(out)
}

fn install(
    store: &Arc<ImageStore>,
    config_bytes: &[u8],
    layers: &[PathBuf],
    names: &[Reference],
    manifest_digest: &str,
) -> Result<Record> {
    let config = parse_config(config_bytes, layers.len())?;
    let digest = format!("sha256:{}", hex(&Sha256::digest(config_bytes)));
    let chains = chain_ids(&config.rootfs.diff_ids);
    for (at, path) in layers.iter().enumerate() {
        if read_info(store.root(), &chains[at]).is_none() {
            layer::install(
                store.root(),
                &chains[at],
                &config.rootfs.diff_ids[at],
                &chains[..at],
                path,
                &store.limits,
            )?;
        }
    }
    util::write_atomic(&store.blob(&digest), config_bytes)?;
    store.commit(&digest, &config, names, manifest_digest)
}

fn inside(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.components().all(|c| matches!(c, std::path::Component::Normal(_))) {
        Ok(dir.join(path))
    } else {
        Err(Error::invalid(format!("the archive names a file {name:?} outside itself; refused")))
    }
}

fn blob_path(dir: &Path, digest: &str) -> Result<PathBuf> {
    Ok(dir.join("blobs/sha256").join(check_digest(digest)?.trim_start_matches("sha256:")))
}

fn read_blob(dir: &Path, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let path = blob_path(dir, &descriptor.digest)?;
    let bytes = read_small(&path)?;
    if format!("sha256:{}", hex(&Sha256::digest(&bytes))) == descriptor.digest {
        Ok(bytes)
    } else {
        Err(Error::invalid(format!("{} does not have the digest of its name; refused", path.display())))
    }
}

fn read_small(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).with_path("reading", path)?.len();
    if size > DOCUMENT_LIMIT as u64 {
        return Err(Error::invalid(format!(
            "{} is larger than {DOCUMENT_LIMIT} bytes; refused",
            path.display()
        )));
    }
    std::fs::read(path).with_path("reading", path)
}

fn check_file(path: &Path, digest: &str) -> Result<()> {
    let mut file = File::open(path).with_path("opening", path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 64 << 10];
    loop {
        let got = std::io::Read::read(&mut file, &mut buffer).with_path("reading", path)?;
        if got == 0 {
            break;
        }
        hasher.update(&buffer[..got]);
    }
    if format!("sha256:{}", hex(&hasher.finalize())) == digest {
        Ok(())
    } else {
        Err(Error::invalid(format!("{} does not have the digest of its name; refused", path.display())))
    }
}
