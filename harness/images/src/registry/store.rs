//! Repositories in memory.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::blob::{Blob, digest_of};
use crate::{Descriptor, ImageSet};

#[derive(Default)]
struct Repository {
    tags: BTreeMap<String, String>,
    blobs: BTreeMap<String, Blob>,
}

/// What the registry holds.
#[derive(Default)]
pub(super) struct Store {
    repositories: BTreeMap<String, Repository>,
    uploads: BTreeMap<String, Vec<u8>>,
    next_upload: u64,
}

/// Bytes of one upload at most.
const UPLOAD_LIMIT: usize = 512 << 20;

impl Store {
    pub fn add(&mut self, repository: &str, tag: &str, image: &ImageSet) {
        let repo = self.repositories.entry(repository.into()).or_default();
        for (digest, blob) in image.blobs() {
            repo.blobs.insert(digest.into(), blob.clone());
        }
        repo.tags.insert(tag.into(), image.root().digest.clone());
    }

    pub fn remove_tag(&mut self, repository: &str, tag: &str) {
        if let Some(repo) = self.repositories.get_mut(repository) {
            repo.tags.remove(tag);
        }
    }

    /// Forgets a repository with everything in it.
    pub fn remove_repository(&mut self, repository: &str) {
        self.repositories.remove(repository);
    }

    /// A manifest by tag or digest, with the digest that the registry claims for it.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Blob)> {
        let repo = self.repositories.get(repository)?;
        let digest = repo.tags.get(reference).map_or(reference, String::as_str);
        Some((digest.to_owned(), repo.blobs.get(digest)?.clone()))
    }

    pub fn blob(&self, repository: &str, digest: &str) -> Option<Blob> {
        self.repositories.get(repository)?.blobs.get(digest).cloned()
    }

    pub fn tags(&self, repository: &str) -> Option<Vec<String>> {
        Some(self.repositories.get(repository)?.tags.keys().cloned().collect())
    }

    /// Opens an upload and returns its name.
    pub fn open_upload(&mut self) -> String {
        self.next_upload += 1;
        let name = format!("upload-{}", self.next_upload);
        self.uploads.insert(name.clone(), Vec::new());
        name
    }

    /// Adds to an upload; `None` if there is none or it would be too big.
    pub fn append(&mut self, upload: &str, data: &[u8]) -> Option<usize> {
        let buffer = self.uploads.get_mut(upload)?;
        if buffer.len() + data.len() > UPLOAD_LIMIT {
            return None;
        }
        buffer.extend_from_slice(data);
        Some(buffer.len())
    }

    /// Ends an upload as a blob; `false` when the content is not what the digest says.
    pub fn finish_upload(&mut self, repository: &str, upload: &str, digest: &str) -> bool {
        let Some(data) = self.uploads.remove(upload) else { return false };
        if digest_of(&data) != digest {
            return false;
        }
        let blob = Blob { media_type: "application/octet-stream".into(), data: data.into() };
        self.repositories.entry(repository.into()).or_default().blobs.insert(digest.into(), blob);
        true
    }

    /// Stores an uploaded manifest under a tag or its digest.
    pub fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        media_type: &str,
        data: Bytes,
    ) -> String {
        let descriptor = Descriptor::of(media_type, &data);
        let repo = self.repositories.entry(repository.into()).or_default();
        repo.blobs.insert(descriptor.digest.clone(), Blob { media_type: media_type.into(), data });
        if !reference.contains(':') {
            repo.tags.insert(reference.into(), descriptor.digest.clone());
        }
        descriptor.digest
    }
}
