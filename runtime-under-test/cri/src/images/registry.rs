//! The client side of the OCI distribution protocol: endpoints and mirrors, authentication, manifests, blobs.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, LOCATION, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode, Uri};
use hyper::body::Incoming;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::http::{next_chunk, read_all, send};
use super::reference::Reference;
use crate::api::AuthConfig;
use crate::config::RegistryConfig;
use crate::error::{Context as _, Error, Result};
use crate::util::hex;

/// Largest manifest, index or image config accepted (RELIABILITY: image digests).
pub const DOCUMENT_LIMIT: usize = 4 << 20;
const MEDIA_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Credentials of one pull; they live no longer (`image.pull.auth-not-persisted`).
#[derive(Clone, Default)]
pub struct Credentials {
    basic: Option<(String, String)>,
    identity_token: Option<String>,
    registry_token: Option<String>,
}

impl Credentials {
    /// From the request; given for another server they are not used (`image.pull.auth-server-address`).
    pub fn from_request(auth: Option<&AuthConfig>, registry: &str) -> Result<Self> {
        let Some(auth) = auth else { return Ok(Self::default()) };
        if !auth.server_address.is_empty() && !same_server(&auth.server_address, registry) {
            return Ok(Self::default());
        }
        let filled = |text: &String| (!text.is_empty()).then(|| text.clone());
        let mut out = Self {
            basic: filled(&auth.username).map(|user| (user, auth.password.clone())),
            identity_token: filled(&auth.identity_token),
            registry_token: filled(&auth.registry_token),
        };
        if out.basic.is_none() && !auth.auth.is_empty() {
            let bytes =
                STANDARD.decode(auth.auth.trim()).map_err(|_| Error::invalid("auth.auth is not base64"))?;
            let text = String::from_utf8(bytes).map_err(|_| Error::invalid("auth.auth is not text"))?;
            let (user, password) = text
                .split_once(':')
                .ok_or_else(|| Error::invalid("auth.auth does not hold user:password"))?;
            out.basic = Some((user.to_owned(), password.trim_end_matches('\0').to_owned()));
        }
        Ok(out)
    }
}

fn same_server(address: &str, registry: &str) -> bool {
    let bare = address.trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or_default();
    let canon = |h: &str| {
        if matches!(h, "index.docker.io" | "registry-1.docker.io") {
            "docker.io".to_owned()
        } else {
            h.to_owned()
        }
    };
    canon(host) == canon(registry)
}

/// A session with the places that serve one repository.
pub struct Session {
    endpoints: Vec<String>,
    repository: String,
    credentials: Credentials,
    ca_file: Option<String>,
    /// What to put in Authorization, once known.
    authorization: tokio::sync::Mutex<Option<String>>,
}

/// A manifest or index as served.
pub struct Document {
    /// `sha256:...` of the bytes.
    pub digest: String,
    /// The bytes themselves.
    pub bytes: Vec<u8>,
}

impl Session {
    /// Endpoints of the reference's registry: mirrors first, then itself. Loopback is plain HTTP by default.
    pub fn new(
        reference: &Reference,
        credentials: Credentials,
        config: &BTreeMap<String, RegistryConfig>,
    ) -> Self {
        let settings = config.get(&reference.registry).cloned().unwrap_or_default();
        let host =
            if reference.registry == "docker.io" { "registry-1.docker.io" } else { &reference.registry };
        let plain = settings.plain_http.unwrap_or_else(|| is_loopback(host));
        let mut endpoints = settings.mirrors;
        endpoints.push(format!("{}://{host}", if plain { "http" } else { "https" }));
        Self {
            endpoints,
            repository: reference.repository.clone(),
            credentials,
            ca_file: settings.ca_file,
            authorization: tokio::sync::Mutex::new(None),
        }
    }

    /// Fetches a manifest by tag or digest. A digest is checked.
    pub async fn manifest(&self, wanted: &str) -> Result<Document> {
        let response = self.get(&format!("manifests/{wanted}"), &[(ACCEPT, MEDIA_TYPES.to_owned())]).await?;
        let bytes = read_all(response.into_body(), DOCUMENT_LIMIT).await?;
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        if wanted.starts_with("sha256:") && wanted != digest {
            return Err(Error::data_loss(format!(
                "the registry served a manifest with digest {digest} for {wanted}; refused"
            )));
        }
        Ok(Document { digest, bytes })
    }

    /// Fetches a small blob into memory, checked.
    pub async fn small_blob(&self, digest: &str) -> Result<Vec<u8>> {
        let response = self.get(&format!("blobs/{digest}"), &[]).await?;
        let bytes = read_all(response.into_body(), DOCUMENT_LIMIT).await?;
        let got = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        if got == digest { Ok(bytes) } else { Err(mismatch(digest, &got)) }
    }

    /// Fetches a layer into a file, with its size and digest checked on the way.
    pub async fn blob_to_file(&self, digest: &str, size: u64, path: &Path) -> Result<()> {
        let response = self.get(&format!("blobs/{digest}"), &[]).await?;
        let mut body = response.into_body();
        let mut file = tokio::fs::File::create(path).await.with_path("creating", path)?;
        let (mut hasher, mut total) = (Sha256::new(), 0_u64);
        while let Some(chunk) = next_chunk(&mut body).await? {
            total += chunk.len() as u64;
            if total > size {
                return Err(Error::data_loss(format!(
                    "blob {digest} is larger than the {size} bytes its manifest says; refused"
                )));
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.with_path("writing", path)?;
        }
        file.flush().await.with_path("writing", path)?;
        let got = format!("sha256:{}", hex(&hasher.finalize()));
        if total != size {
            return Err(Error::data_loss(format!(
                "blob {digest} has {total} bytes where its manifest says {size}; refused"
            )));
        }
        if got == digest { Ok(()) } else { Err(mismatch(digest, &got)) }
    }

    /// GET below the repository: each endpoint in turn, with authentication, redirects and a few retries.
    async fn get(&self, what: &str, headers: &[(HeaderName, String)]) -> Result<Response<Incoming>> {
        let mut last = None;
        for endpoint in &self.endpoints {
            for attempt in 0..3_u32 {
                let url = format!("{}/v2/{}/{what}", endpoint.trim_end_matches('/'), self.repository);
                match self.get_url(&url, headers).await {
                    Ok(response) => return Ok(response),
                    Err((error, retry)) => {
                        last = Some(error);
                        if !retry {
                            break;
                        }
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(100 << attempt)).await;
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("no endpoint is configured for this registry")))
    }

    async fn get_url(
        &self,
        url: &str,
        headers: &[(HeaderName, String)],
    ) -> std::result::Result<Response<Incoming>, (Error, bool)> {
        let origin: Uri = url.parse().map_err(|_| (Error::invalid(format!("{url} is not a URL")), false))?;
        let mut uri = origin.clone();
        let mut challenged = false;
        for _ in 0..6 {
            let mut all = headers.to_vec();
            // A redirect to another host must not see the credentials.
            if uri.authority() == origin.authority()
                && let Some(value) = self.authorization.lock().await.clone()
            {
                all.push((AUTHORIZATION, value));
            }
            let response = send(Method::GET, &uri, &all, Bytes::new(), self.ca_file.as_deref())
                .await
                .map_err(|error| (error, false))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status.is_redirection() {
                uri = redirect(&uri, &response).map_err(|error| (error, false))?;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && !challenged && uri.authority() == origin.authority() {
                challenged = true;
                let value = self.answer_challenge(&response).await.map_err(|error| (error, false))?;
                *self.authorization.lock().await = Some(value);
                continue;
            }
            let retry = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            return Err((self.refusal(status, url), retry));
        }
        Err((Error::internal(format!("{url}: too many redirects")), false))
    }

    fn refusal(&self, status: StatusCode, url: &str) -> Error {
        match status {
            StatusCode::NOT_FOUND => {
                Error::not_found(format!("the registry does not have {url}; check name and tag"))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::new(
                tonic::Code::Unauthenticated,
                format!(
                    "the registry refused access to {} ({status}); check the pull credentials",
                    self.repository
                ),
            ),
            _ => Error::new(
                tonic::Code::Unknown,
                format!("RegistryUnavailable: {url} answered {status}; try again later"),
            ),
        }
    }

    /// Basic at once, or the token flow that `WWW-Authenticate: Bearer` describes.
    async fn answer_challenge(&self, response: &Response<Incoming>) -> Result<String> {
        if let Some(token) = &self.credentials.registry_token {
            return Ok(format!("Bearer {token}"));
        }
        let denied = |why: &str| {
            Error::new(
                tonic::Code::Unauthenticated,
                format!("the registry wants authentication for {}: {why}", self.repository),
            )
        };
        let mut challenges =
            response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        let challenge = challenges.next().ok_or_else(|| denied("it does not say how"))?;
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return self.basic().ok_or_else(|| denied("user and password are needed"));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(denied("its scheme is neither Basic nor Bearer"));
        }
        let parameters = parse_challenge(rest);
        let realm = parameters.get("realm").ok_or_else(|| denied("its challenge has no realm"))?;
        let scope = parameters
            .get("scope")
            .cloned()
            .unwrap_or_else(|| format!("repository:{}:pull", self.repository));
        let service = parameters.get("service").cloned().unwrap_or_default();
        self.fetch_token(realm, &service, &scope).await
    }

    fn basic(&self) -> Option<String> {
        let (user, password) = self.credentials.basic.as_ref()?;
        Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    async fn fetch_token(&self, realm: &str, service: &str, scope: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let response = if let Some(identity) = &self.credentials.identity_token {
            let uri: Uri = realm.parse().map_err(|_| Error::internal("the token realm is not a URL"))?;
            let form = format!(
                "grant_type=refresh_token&client_id=plimsoll-cri&service={}&scope={}&refresh_token={}",
                percent(service),
                percent(scope),
                percent(identity)
            );
            let headers = [(CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned())];
            send(Method::POST, &uri, &headers, Bytes::from(form), self.ca_file.as_deref()).await?
        } else {
            let join = if realm.contains('?') { '&' } else { '?' };
            let url = format!("{realm}{join}service={}&scope={}", percent(service), percent(scope));
            let uri: Uri = url.parse().map_err(|_| Error::internal("the token realm is not a URL"))?;
            let headers: Vec<_> = self.basic().into_iter().map(|value| (AUTHORIZATION, value)).collect();
            send(Method::GET, &uri, &headers, Bytes::new(), self.ca_file.as_deref()).await?
        };
        if !response.status().is_success() {
            return Err(Error::new(
                tonic::Code::Unauthenticated,
                format!(
                    "the token server refused access to {} ({}); check the pull credentials",
                    self.repository,
                    response.status()
                ),
            ));
        }
        let bytes = read_all(response.into_body(), 1 << 20).await?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|_| Error::internal("the token server's answer is not the JSON expected"))?;
        let value = token
            .access_token
            .or(token.token)
            .ok_or_else(|| Error::internal("the token server's answer has no token"))?;
        Ok(format!("Bearer {value}"))
    }
}

fn mismatch(wanted: &str, got: &str) -> Error {
    Error::new(
        tonic::Code::DataLoss,
        format!("blob {wanted} arrived with digest {got}; refused, nothing was stored"),
    )
}

fn redirect(from: &Uri, response: &Response<Incoming>) -> Result<Uri> {
    let target = response.headers().get(LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let absolute = if target.starts_with('/') {
        format!(
            "{}://{}{target}",
            from.scheme_str().unwrap_or("https"),
            from.authority().map_or("", http::uri::Authority::as_str)
        )
    } else {
        target.to_owned()
    };
    let uri: Uri = absolute
        .parse()
        .map_err(|_| Error::internal("the registry redirects to something that is not a URL"))?;
    if from.scheme_str() == Some("https") && uri.scheme_str() != Some("https") {
        return Err(Error::internal("the registry redirects from https to plain http; refused"));
    }
    Ok(uri)
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `key="value"` pairs separated by commas; values may hold commas.
fn parse_challenge(text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, next) = if let Some(quoted) = after.strip_prefix('"') {
            quoted.split_once('"').unwrap_or((quoted, ""))
        } else {
            after.split_once(',').unwrap_or((after, ""))
        };
        out.insert(key.trim_matches([' ', ',']).to_ascii_lowercase(), value.to_owned());
        rest = next;
    }
    out
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let got = parse_challenge(r#"realm="http://a/t",service="s",scope="repository:x:pull,push""#);
        assert_eq!(got["realm"], "http://a/t");
        assert_eq!(got["scope"], "repository:x:pull,push");
    }

    #[test]
    fn credentials_stay_with_their_server() {
        let auth = AuthConfig {
            username: "u".into(),
            password: "p".into(),
            server_address: "https://a.io/v1/".into(),
            ..Default::default()
        };
        assert!(Credentials::from_request(Some(&auth), "a.io").unwrap().basic.is_some());
        assert!(Credentials::from_request(Some(&auth), "b.io").unwrap().basic.is_none());
        let auth = AuthConfig { auth: STANDARD.encode("u:p:q"), ..Default::default() };
        assert_eq!(Credentials::from_request(Some(&auth), "b.io").unwrap().basic.unwrap().1, "p:q");
        assert!(
            Credentials::from_request(Some(&AuthConfig { auth: "%".into(), ..Default::default() }), "b")
                .is_err()
        );
    }
}
