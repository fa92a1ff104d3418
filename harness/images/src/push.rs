//! Pushing an image to another registry over plain HTTP (no TLS: meant for a registry on the node).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ImageSet;
use crate::registry::Credentials;

/// Bytes of an answer at most.
const ANSWER_LIMIT: usize = 1 << 20;

/// A push did not work.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Not `host:port/repository:tag`.
    #[error("{0:?} is no reference of the form host:port/repository:tag")]
    Reference(String),
    /// No connection or no answer.
    #[error("registry {host}: {reason}; is it running and does it speak plain HTTP?")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What went wrong.
        reason: String,
    },
    /// The registry refused.
    #[error("registry answered {status} to {method} {path}; check credentials and that it allows pushes")]
    Refused {
        /// HTTP status.
        status: u16,
        /// HTTP method.
        method: String,
        /// Path of the request.
        path: String,
    },
}

/// Where and how to push.
#[derive(Clone, Debug)]
pub struct Pusher {
    credentials: Option<Credentials>,
    deadline: Duration,
}

impl Default for Pusher {
    fn default() -> Self {
        Self { credentials: None, deadline: Duration::from_secs(60) }
    }
}

impl Pusher {
    /// Without credentials, 60 s for each request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Basic authentication.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Time for each request.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Pushes every blob, then the manifests, the root last and under the tag.
    pub async fn push(&self, reference: &str, image: &ImageSet) -> Result<(), PushError> {
        let bad = || PushError::Reference(reference.to_owned());
        let (host, rest) = reference.split_once('/').ok_or_else(bad)?;
        let (repository, tag) = rest.rsplit_once(':').ok_or_else(bad)?;
        let (manifests, blobs): (Vec<_>, Vec<_>) = image
            .blobs()
            .partition(|(_, b)| b.media_type.contains("manifest") || b.media_type.contains("index"));
        for (digest, blob) in blobs {
            self.blob(host, repository, digest, &blob.data).await?;
        }
        for (digest, blob) in &manifests {
            if *digest != image.root().digest {
                self.manifest(host, repository, digest, &blob.media_type, &blob.data).await?;
            }
        }
        for (digest, blob) in &manifests {
            if *digest == image.root().digest {
                self.manifest(host, repository, tag, &blob.media_type, &blob.data).await?;
            }
        }
        Ok(())
    }

    async fn blob(&self, host: &str, repository: &str, digest: &str, data: &Bytes) -> Result<(), PushError> {
        let path = format!("/v2/{repository}/blobs/{digest}");
        let (status, _) = self.send(host, Method::HEAD, &path, "", Bytes::new()).await?;
        if status == StatusCode::OK {
            return Ok(());
        }
        let path = format!("/v2/{repository}/blobs/uploads/");
        let (status, location) = self.send(host, Method::POST, &path, "", Bytes::new()).await?;
        let refused = |status: StatusCode, method: &str, path: &str| PushError::Refused {
            status: status.as_u16(),
            method: method.into(),
            path: path.into(),
        };
        if status != StatusCode::ACCEPTED {
            return Err(refused(status, "POST", &path));
        }
        // The location may be a path or a whole URL of the same host.
        let location = location.strip_prefix(&format!("http://{host}")).unwrap_or(&location).to_owned();
        let mark = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{mark}digest={digest}");
        let (status, _) =
            self.send(host, Method::PUT, &path, "application/octet-stream", data.clone()).await?;
        if status == StatusCode::CREATED { Ok(()) } else { Err(refused(status, "PUT", &path)) }
    }

    async fn manifest(
        &self,
        host: &str,
        repository: &str,
        name: &str,
        kind: &str,
        data: &Bytes,
    ) -> Result<(), PushError> {
        let path = format!("/v2/{repository}/manifests/{name}");
        let (status, _) = self.send(host, Method::PUT, &path, kind, data.clone()).await?;
        if status == StatusCode::CREATED {
            return Ok(());
        }
        Err(PushError::Refused { status: status.as_u16(), method: "PUT".into(), path })
    }

    async fn send(
        &self,
        host: &str,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<(StatusCode, String), PushError> {
        let fail = |reason: String| PushError::Unreachable { host: host.to_owned(), reason };
        let exchange = async {
            let stream = TcpStream::connect(host).await.map_err(|e| fail(e.to_string()))?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|e| fail(e.to_string()))?;
            let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
            if !kind.is_empty() {
                request = request.header(header::CONTENT_TYPE, kind);
            }
            if let Some(c) = &self.credentials {
                let value = STANDARD.encode(format!("{}:{}", c.username, c.password));
                request = request.header(header::AUTHORIZATION, format!("Basic {value}"));
            }
            let request = request.body(Full::new(body)).map_err(|e| fail(e.to_string()))?;
            let answer = async {
                let response = sender.send_request(request).await.map_err(|e| fail(e.to_string()))?;
                let status = response.status();
                let location = response.headers().get(header::LOCATION);
                let location = location.and_then(|l| l.to_str().ok()).unwrap_or_default().to_owned();
                Limited::new(response.into_body(), ANSWER_LIMIT)
                    .collect()
                    .await
                    .map_err(|e| fail(e.to_string()))?;
                Ok((status, location))
            };
            let mut answer = std::pin::pin!(answer);
            tokio::select! {
                done = &mut answer => done,
                ended = connection => {
                    // The answer may still be on its way out of the connection's buffers.
                    ended.map_err(|e| fail(e.to_string()))?;
                    answer.await
                }
            }
        };
        timeout(self.deadline, exchange)
            .await
            .unwrap_or_else(|_| Err(fail(format!("no answer within {} s", self.deadline.as_secs()))))
    }
}
