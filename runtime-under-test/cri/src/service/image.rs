//! `runtime.v1.ImageService`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tonic::{Request, Response, Status};

use super::{Answers, Service, batches, blocking};
use crate::api::image_service_server::ImageService;
use crate::api::{
    FilesystemIdentifier, FilesystemUsage, Image, ImageFilter, ImageFsInfoRequest, ImageFsInfoResponse,
    ImageStatusRequest, ImageStatusResponse, ListImagesRequest, ListImagesResponse, PullImageRequest,
    PullImageResponse, RemoveImageRequest, RemoveImageResponse, StreamImagesRequest, StreamImagesResponse,
    UInt64Value,
};
use crate::error::{Error, Result};
use crate::images::import::import;
use crate::images::pull::pull;
use crate::images::reference::Reference;
use crate::images::registry::Credentials;
use crate::images::store::to_api;
use crate::util::now_ns;

/// Annotation by which the command line asks the server to import an archive of this host.
pub const IMPORT: &str = "io.plimsoll.cri.import";

impl Service {
    fn images(&self, filter: Option<ImageFilter>) -> Vec<Image> {
        let name = filter.and_then(|f| f.image).map(|i| i.image).unwrap_or_default();
        if name.is_empty() {
            return self.daemon.images.list().iter().map(to_api).collect();
        }
        self.daemon.images.find(&name).iter().map(to_api).collect()
    }

    fn image_status_now(&self, request: &ImageStatusRequest) -> Result<ImageStatusResponse> {
        let spec = request.image.clone().unwrap_or_default();
        if spec.image.is_empty() {
            return Err(Error::invalid("image.image is empty"));
        }
        let Some(record) = self.daemon.images.find(&spec.image) else {
            return Ok(ImageStatusResponse::default());
        };
        let mut info = BTreeMap::new();
        if request.verbose {
            let config: serde_json::Value =
                serde_json::from_slice(&self.daemon.images.config_text(&record)?).unwrap_or_default();
            info.insert(
                "info".to_owned(),
                json!({"chainID": record.diff_ids, "imageSpec": config}).to_string(),
            );
        }
        let mut image = to_api(&record);
        if let Some(own) = image.spec.as_mut() {
            own.annotations = spec.annotations;
        }
        Ok(ImageStatusResponse { image: Some(image), info })
    }
}

#[tonic::async_trait]
impl ImageService for Service {
    type StreamImagesStream = Answers<StreamImagesResponse>;

    async fn list_images(
        &self,
        request: Request<ListImagesRequest>,
    ) -> std::result::Result<Response<ListImagesResponse>, Status> {
        Ok(Response::new(ListImagesResponse { images: self.images(request.into_inner().filter) }))
    }

    async fn stream_images(
        &self,
        request: Request<StreamImagesRequest>,
    ) -> std::result::Result<Response<Self::StreamImagesStream>, Status> {
        Ok(Response::new(batches(self.images(request.into_inner().filter), |images| StreamImagesResponse {
            images,
        })))
    }

    async fn image_status(
        &self,
        request: Request<ImageStatusRequest>,
    ) -> std::result::Result<Response<ImageStatusResponse>, Status> {
        Ok(Response::new(self.image_status_now(request.get_ref())?))
    }

    async fn pull_image(
        &self,
        request: Request<PullImageRequest>,
    ) -> std::result::Result<Response<PullImageResponse>, Status> {
        let limit = deadline(&request);
        let request = request.into_inner();
        let spec = request.image.unwrap_or_default();
        self.daemon.runtime(&spec.runtime_handler)?;
        if let Some(path) = spec.annotations.get(IMPORT) {
            let (store, path, name) = (Arc::clone(&self.daemon.images), PathBuf::from(path), spec.image);
            let given = (!name.is_empty()).then_some(name);
            let records = blocking(move || import(&store, &path, given.as_deref())).await?;
            let ids: Vec<String> = records.into_iter().map(|r| r.id).collect();
            return Ok(Response::new(PullImageResponse { image_ref: ids.join("\n") }));
        }
        let reference = Reference::parse(&spec.image)?;
        let credentials = Credentials::from_request(request.auth.as_ref(), &reference.registry)?;
        let work = pull(&self.daemon.images, &reference, credentials, &self.daemon.config.registries);
        let record = match limit {
            Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| {
                Error::deadline(format!("pulling {reference} took longer than the client allows; try again"))
            })?,
            None => work.await,
        }?;
        tracing::info!(image = %reference, id = %record.id, "pulled");
        Ok(Response::new(PullImageResponse { image_ref: record.id }))
    }

    async fn remove_image(
        &self,
        request: Request<RemoveImageRequest>,
    ) -> std::result::Result<Response<RemoveImageResponse>, Status> {
        let name = request.into_inner().image.unwrap_or_default().image;
        super::need("image.image", &name)?;
        let store = Arc::clone(&self.daemon.images);
        blocking(move || store.remove(&name)).await?;
        Ok(Response::new(RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<ImageFsInfoRequest>,
    ) -> std::result::Result<Response<ImageFsInfoResponse>, Status> {
        let store = Arc::clone(&self.daemon.images);
        let mountpoint = store.root().display().to_string();
        let (bytes, inodes) = blocking(move || Ok(store.usage())).await?;
        let usage = FilesystemUsage {
            timestamp: now_ns(),
            fs_id: Some(FilesystemIdentifier { mountpoint }),
            used_bytes: Some(UInt64Value { value: bytes }),
            inodes_used: Some(UInt64Value { value: inodes }),
        };
        Ok(Response::new(ImageFsInfoResponse {
            image_filesystems: vec![usage],
            container_filesystems: Vec::new(),
        }))
    }
}

/// The client's time limit, from `grpc-timeout`.
fn deadline<T>(request: &Request<T>) -> Option<std::time::Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let nanos = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    Some(std::time::Duration::from_nanos(number.saturating_mul(nanos)))
}
