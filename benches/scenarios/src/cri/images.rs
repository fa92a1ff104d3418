//! What the endpoints pull: images around the guest, served by the registry of this process.

use super::link::{Link, failure};
use crate::error::BenchError;
use crate::plan::{CriTarget, LoadPlan};
use crate::slot::Failure;
use plimsoll_bench_stats::Rng;
use plimsoll_cri_client::v1;
use plimsoll_images::registry::Registry;
use plimsoll_images::standard::Catalogue;
use plimsoll_images::{Compression, Image, ImageSet, Layer};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The registry and what was pulled from it; the endpoints forget it all when this is dropped.
pub struct Images {
    registry: Registry,
    catalogue: Catalogue,
    plain: String,
    mib: usize,
    count: AtomicU64,
    pulled: Mutex<Vec<(CriTarget, String)>>,
    /// Bytes that the container of the log scenario writes.
    pub(super) log_bytes: usize,
    /// Unique to the run.
    pub(super) tag: String,
}

/// A fresh image: nobody has its big layer yet.
pub(super) struct Fresh {
    /// Its reference.
    pub reference: String,
    /// A second image with the same layers.
    pub twin: String,
    /// Where both are.
    repository: String,
    /// Bytes of the layer's content.
    pub bytes: usize,
}

impl Images {
    /// Serves the guest's image.
    pub fn serve(
        guest: &Path,
        inside: Option<&Path>,
        tag: &str,
        load: &LoadPlan,
    ) -> Result<Arc<Self>, BenchError> {
        let read = |path: &Path| fs::read(path).map_err(BenchError::file("read", path));
        let registry = Registry::start().map_err(BenchError::system("start the registry"))?;
        let catalogue = Catalogue::new(read(guest)?);
        let mut image = catalogue.waiting().label("plimsoll.bench", tag);
        if let Some(program) = inside {
            let layer = Layer::new().file("inside", read(program)?, 0o755);
            image = image.layer_as(layer, Compression::None);
        }
        let plain = registry.add("bench/plain", &tag.to_lowercase(), &image.build());
        Ok(Arc::new(Self {
            registry,
            catalogue,
            plain,
            mib: load.image_mib.max(1),
            count: AtomicU64::new(0),
            pulled: Mutex::default(),
            log_bytes: load.log_kib.max(1) << 10,
            tag: tag.to_owned(),
        }))
    }

    /// The image of all pods, pulled by this endpoint if it has not yet.
    pub(super) fn plain(&self, target: &CriTarget, link: &Link) -> Result<String, Failure> {
        let mut pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        if !pulled.iter().any(|(t, _)| t.socket == target.socket) {
            link.run(pull(link, &self.plain))?;
            pulled.push((target.clone(), self.plain.clone()));
        }
        Ok(self.plain.clone())
    }

    /// A new image with a layer that nobody has seen, half of it compressible as program text is.
    pub(super) fn fresh(&self) -> Fresh {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let mut rng = Rng::for_purpose(n, &self.tag);
        let mut layer = Layer::new().dir("big", 0o755);
        let mut bytes = 0;
        for part in 0..self.mib {
            let mut data = vec![0_u8; 1 << 20];
            for word in data.chunks_exact_mut(16) {
                word[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
            }
            bytes += data.len();
            layer = layer.file(&format!("big/{part}"), data, 0o644);
        }
        let image = |label: &str| -> ImageSet {
            let base: Image = self.catalogue.waiting().layer_as(layer.clone(), Compression::Gzip);
            base.label("plimsoll.bench", &format!("{}-{n}-{label}", self.tag)).build()
        };
        let repository = format!("bench/fresh-{n}");
        let add = |label: &str| self.registry.add(&repository, label, &image(label));
        Fresh { reference: add("one"), twin: add("twin"), repository: repository.clone(), bytes }
    }

    /// The registry need not serve a fresh image any longer.
    pub(super) fn forget(&self, fresh: &Fresh) {
        self.registry.remove_repository(&fresh.repository);
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        let pulled = std::mem::take(&mut *self.pulled.lock().unwrap_or_else(PoisonError::into_inner));
        for (target, reference) in pulled {
            if let Ok(link) = Link::open(&target, Duration::from_secs(10)) {
                let _ = link.run(remove(&link, &reference));
            }
        }
    }
}

pub(super) fn spec(reference: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: reference.to_owned(), ..Default::default() }
}

pub(super) async fn pull(link: &Link, reference: &str) -> Result<(), Failure> {
    let request = v1::PullImageRequest { image: Some(spec(reference)), ..Default::default() };
    link.client.pull_image(request).await.map(|_| ()).map_err(failure("PullImage"))
}

pub(super) async fn remove(link: &Link, reference: &str) -> Result<(), Failure> {
    let request = v1::RemoveImageRequest { image: Some(spec(reference)) };
    link.client.remove_image(request).await.map(|_| ()).map_err(failure("RemoveImage"))
}
