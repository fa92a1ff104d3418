//! Pulling: manifest, config, missing layers, then one commit. What fails leaves nothing listed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::document::{self, Descriptor, Document, ImageConfig, Manifest, choose, parse_config};
use super::layer::{self, chain_ids, read_info};
use super::reference::Reference;
use super::registry::{Credentials, Session};
use super::store::{ImageStore, Record, lock};
use crate::config::RegistryConfig;
use crate::error::{Context as _, Error, Result};
use crate::util;

/// Removes a file when dropped: a cancelled pull leaves none behind (`image.pull.cancel-cleans`).
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Pulls `reference` and returns its record, listed when this returns.
pub async fn pull(
    store: &Arc<ImageStore>,
    reference: &Reference,
    credentials: Credentials,
    registries: &BTreeMap<String, RegistryConfig>,
) -> Result<Record> {
    let result = {
        let _busy = store.busy.read().await;
        fetch(store, reference, credentials, registries).await
    };
    if result.is_err() {
        let store = Arc::clone(store);
        tokio::task::spawn_blocking(move || store.collect());
    }
    result.map_err(|error| {
        // The kubelet wants its prefixes at the very beginning.
        if error.message.starts_with("RegistryUnavailable") {
            error
        } else {
            error.context(format_args!("pulling {reference}"))
        }
    })
}

async fn fetch(
    store: &Arc<ImageStore>,
    reference: &Reference,
    credentials: Credentials,
    registries: &BTreeMap<String, RegistryConfig>,
) -> Result<Record> {
    let session = Session::new(reference, credentials, registries);
    let top = session.manifest(reference.wanted()).await?;
    let manifest = match document::parse(&top.bytes)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(entries) => {
            let chosen = choose(&entries)?.digest.clone();
            match document::parse(&session.manifest(&super::reference::check_digest(&chosen)?).await?.bytes)?
            {
                Document::Manifest(manifest) => manifest,
                Document::Index(_) => {
                    return Err(Error::invalid("the image's index points to another index; not supported"));
                }
            }
        }
    };
    let config_path = store.blob(&manifest.config.digest);
    let known = store.find(&manifest.config.digest).is_some();
    let config_bytes = if known && config_path.exists() {
        std::fs::read(&config_path).with_path("reading", &config_path)?
    } else {
        session.small_blob(&manifest.config.digest).await?
    };
    let config = parse_config(&config_bytes, manifest.layers.len())?;
    fetch_layers(store, &session, &manifest, &config).await?;
    if !known {
        util::write_atomic(&config_path, &config_bytes)?;
    }
    store.commit(&manifest.config.digest, &config, std::slice::from_ref(reference), &top.digest)
}

async fn fetch_layers(
    store: &Arc<ImageStore>,
    session: &Session,
    manifest: &Manifest,
    config: &ImageConfig,
) -> Result<()> {
    let chains = chain_ids(&config.rootfs.diff_ids);
    for (at, descriptor) in manifest.layers.iter().enumerate() {
        let chain = &chains[at];
        let gate = Arc::clone(lock(&store.locks).entry(chain.clone()).or_default());
        let _one = gate.lock().await;
        if read_info(store.root(), chain).is_none() {
            fetch_layer(store, session, descriptor, &chains[..=at], &config.rootfs.diff_ids[at]).await?;
        }
        lock(&store.locks).remove(chain);
    }
    Ok(())
}

/// Downloads one layer and unpacks it above its parents; `chains` ends with the layer's own.
async fn fetch_layer(
    store: &Arc<ImageStore>,
    session: &Session,
    descriptor: &Descriptor,
    chains: &[String],
    diff_id: &str,
) -> Result<()> {
    let scratch = Scratch(store.scratch()?);
    session.blob_to_file(&descriptor.digest, descriptor.size, &scratch.0).await?;
    let (root, limits, diff_id) = (store.root().to_owned(), store.limits, diff_id.to_owned());
    let chains = chains.to_vec();
    let job = tokio::task::spawn_blocking(move || {
        let (own, parents) =
            chains.split_last().ok_or_else(|| Error::internal("a layer without chain id"))?;
        let done = layer::install(&root, own, &diff_id, parents, &scratch.0, &limits);
        drop(scratch);
        done
    });
    job.await.doing("unpacking")??;
    Ok(())
}
