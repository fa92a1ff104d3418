//! The image store: an index on disk, layers shared by chain id, collection of what nobody uses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::document::{ImageConfig, parse_config, split_user};
use super::layer::{chain_ids, layer_dir, read_info};
use super::reference::Reference;
use super::unpack::Limits;
use crate::api;
use crate::error::{Context as _, Error, Result};
use crate::util;

/// One stored image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// Digest of the image config: the same content has one id wherever it came from.
    pub id: String,
    /// `registry/repository:tag`.
    pub tags: BTreeSet<String>,
    /// `registry/repository@sha256:...`.
    pub digests: BTreeSet<String>,
    /// Bytes on disk.
    pub size: u64,
    /// diffIDs, lowest first.
    pub diff_ids: Vec<String>,
    /// User from the image config.
    pub user: String,
    /// Not to be removed by the client's garbage collection.
    #[serde(default)]
    pub pinned: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Index {
    images: BTreeMap<String, Record>,
}

/// The store.
pub struct ImageStore {
    root: PathBuf,
    index: Mutex<Index>,
    /// Layers that containers stand on, by container id.
    users: Mutex<HashMap<String, Vec<String>>>,
    /// Pulls hold it for reading; collection of layers takes it for writing.
    pub(super) busy: tokio::sync::RwLock<()>,
    /// One download and unpacking per layer at a time.
    pub(super) locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Bounds of unpacking.
    pub limits: Limits,
}

/// What a container needs of an image.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The record.
    pub record: Record,
    /// The parsed config.
    pub config: ImageConfig,
    /// Layer directories, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Chain ids, lowest first.
    pub chains: Vec<String>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ImageStore {
    /// Opens or makes a store below `root` and removes what an interrupted run left in `ingest`.
    pub fn open(root: &Path) -> Result<Self> {
        for part in ["blobs", "layers"] {
            util::make_dir(&root.join(part), 0o711)?;
        }
        util::remove_dir(&root.join("ingest"))?;
        util::make_dir(&root.join("ingest"), 0o700)?;
        let file = root.join("images.json");
        let index = match std::fs::read(&file) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_path("reading (remove it to start afresh)", &file)?
            }
            Err(_) => Index::default(),
        };
        Ok(Self {
            root: root.to_owned(),
            index: Mutex::new(index),
            users: Mutex::default(),
            busy: tokio::sync::RwLock::new(()),
            locks: Mutex::default(),
            limits: Limits::default(),
        })
    }

    /// Where the store lives.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A fresh name below `ingest`.
    pub(super) fn scratch(&self) -> Result<PathBuf> {
        Ok(self.root.join("ingest").join(util::hex(&util::random_bytes::<8>()?)))
    }

    fn save(&self, index: &Index) -> Result<()> {
        util::write_atomic(
            &self.root.join("images.json"),
            &serde_json::to_vec(index).doing("writing the image index")?,
        )
    }

    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        self.root.join("blobs").join(digest.trim_start_matches("sha256:"))
    }

    /// Adds or completes an image whose layers are in place. A tag moves here from any other image.
    pub(super) fn commit(
        &self,
        config_digest: &str,
        config: &ImageConfig,
        names: &[Reference],
        manifest_digest: &str,
    ) -> Result<Record> {
        let size: u64 = chain_ids(&config.rootfs.diff_ids)
            .iter()
            .filter_map(|c| read_info(&self.root, c))
            .map(|i| i.bytes)
            .sum();
        let mut index = lock(&self.index);
        let mut record = index.images.get(config_digest).cloned().unwrap_or_else(|| Record {
            id: config_digest.to_owned(),
            tags: BTreeSet::new(),
            digests: BTreeSet::new(),
            size: size.max(1),
            diff_ids: config.rootfs.diff_ids.clone(),
            user: config.config.user.clone(),
            pinned: false,
        });
        for name in names {
            if let (Some(tag), None) = (name.tagged(), &name.digest) {
                for other in index.images.values_mut() {
                    other.tags.remove(&tag);
                }
                record.tags.insert(tag);
            }
            record.digests.insert(format!("{}@{manifest_digest}", name.name()));
        }
        index.images.insert(record.id.clone(), record.clone());
        self.save(&index)?;
        Ok(record)
    }

    /// Finds an image by id, `sha256:` id, unambiguous id prefix, tag or digest.
    pub fn find(&self, text: &str) -> Option<Record> {
        if text.is_empty() {
            return None;
        }
        let index = lock(&self.index);
        let bare = text.trim_start_matches("sha256:");
        if let Some(record) = index.images.get(&format!("sha256:{bare}")) {
            return Some(record.clone());
        }
        if let Ok(name) = Reference::parse(text) {
            let digested = name.digest.as_ref().map(|digest| format!("{}@{digest}", name.name()));
            let tagged = name.tagged();
            let hit = index.images.values().find(|r| match (&digested, &tagged) {
                (Some(digest), _) => r.digests.contains(digest),
                (None, Some(tag)) => r.tags.contains(tag),
                (None, None) => false,
            });
            if hit.is_some() {
                return hit.cloned();
            }
        }
        if bare.len() >= 12 && bare.bytes().all(|b| b.is_ascii_hexdigit()) {
            let mut hits =
                index.images.values().filter(|r| r.id.trim_start_matches("sha256:").starts_with(bare));
            if let (Some(record), None) = (hits.next(), hits.next()) {
                return Some(record.clone());
            }
        }
        None
    }

    /// Every image.
    pub fn list(&self) -> Vec<Record> {
        lock(&self.index).images.values().cloned().collect()
    }

    /// The JSON text of an image's config.
    pub fn config_text(&self, record: &Record) -> Result<Vec<u8>> {
        let path = self.blob(&record.id);
        std::fs::read(&path).with_path("reading", &path)
    }

    /// Everything that a container needs of the image named so.
    pub fn resolve(&self, text: &str) -> Result<Resolved> {
        let record = self
            .find(text)
            .ok_or_else(|| Error::not_found(format!("image {text:?} is not on this node; pull it first")))?;
        let config = parse_config(&self.config_text(&record)?, record.diff_ids.len())?;
        let chains = chain_ids(&record.diff_ids);
        let lowers: Vec<PathBuf> =
            chains.iter().rev().map(|chain| layer_dir(&self.root, chain).join("diff")).collect();
        Ok(Resolved { record, config, lowers, chains })
    }

    /// Notes that a container stands on these layers; they stay while it does.
    pub fn hold(&self, container: &str, chains: &[String]) {
        lock(&self.users).insert(container.to_owned(), chains.to_vec());
    }

    /// The container is gone.
    pub fn release(&self, container: &str) {
        lock(&self.users).remove(container);
    }

    /// Removes an image with all its names; an absent one is fine (`image.remove.by-tag`, `.not-found-ok`).
    pub fn remove(&self, text: &str) -> Result<()> {
        let Some(record) = self.find(text) else { return Ok(()) };
        let mut index = lock(&self.index);
        index.images.remove(&record.id);
        self.save(&index)?;
        drop(index);
        let _ = std::fs::remove_file(self.blob(&record.id));
        self.collect();
        Ok(())
    }

    /// Removes layers that neither an image nor a container needs. Skipped while a pull is under way:
    /// the pull's end collects.
    pub fn collect(&self) {
        let Ok(_guard) = self.busy.try_write() else { return };
        let mut used: BTreeSet<PathBuf> = BTreeSet::new();
        for record in lock(&self.index).images.values() {
            used.extend(chain_ids(&record.diff_ids).iter().map(|chain| layer_dir(&self.root, chain)));
        }
        for chains in lock(&self.users).values() {
            used.extend(chains.iter().map(|chain| layer_dir(&self.root, chain)));
        }
        let Ok(entries) = std::fs::read_dir(self.root.join("layers")) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if used.contains(&path) {
                continue;
            }
            // Out of the way first: a half-removed layer must never look whole.
            if let Ok(scratch) = self.scratch()
                && std::fs::rename(&path, &scratch).is_ok()
                && let Err(error) = util::remove_dir(&scratch)
            {
                tracing::warn!(%error, "an unused layer could not be removed");
            }
        }
    }

    /// Bytes and inodes of all layers.
    pub fn usage(&self) -> (u64, u64) {
        let Ok(entries) = std::fs::read_dir(self.root.join("layers")) else { return (0, 0) };
        entries
            .flatten()
            .filter_map(|entry| std::fs::read(entry.path().join("layer.json")).ok())
            .filter_map(|bytes| serde_json::from_slice::<super::layer::LayerInfo>(&bytes).ok())
            .fold((0, 0), |(bytes, inodes), info| (bytes + info.bytes, inodes + info.inodes))
    }
}

/// The CRI form of a record.
pub fn to_api(record: &Record) -> api::Image {
    let (uid, username) = split_user(&record.user);
    api::Image {
        id: record.id.clone(),
        repo_tags: record.tags.iter().cloned().collect(),
        repo_digests: record.digests.iter().cloned().collect(),
        size: record.size,
        uid: uid.map(|value| api::Int64Value { value }),
        username,
        spec: Some(api::ImageSpec { image: record.id.clone(), ..Default::default() }),
        pinned: record.pinned,
    }
}
