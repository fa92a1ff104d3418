//! A small HTTP client for registries: one connection per request, bounded times and sizes,
//! TLS against the host's certificate authorities.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::resolve::resolve;
use crate::error::{Context as _, Error, Result};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A transfer that brings no byte for this long is ended (`image.pull.stalled`).
pub const PROGRESS_LIMIT: Duration = Duration::from_secs(30);
/// Where distributions keep the bundle of certificate authorities.
const CA_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Sends one request and returns the answer's head; the body is read by the caller.
pub async fn send(
    method: Method,
    uri: &Uri,
    headers: &[(header::HeaderName, String)],
    body: Bytes,
    ca_file: Option<&str>,
) -> Result<Response<Incoming>> {
    let host = uri.host().ok_or_else(|| Error::invalid(format!("{uri} has no host")))?;
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let mut request = Request::builder()
        .method(method)
        .uri(uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str))
        .header(header::HOST, uri.authority().map_or("", http::uri::Authority::as_str))
        .header(header::USER_AGENT, concat!("plimsoll-cri/", env!("CARGO_PKG_VERSION")));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(body))
        .map_err(|_| Error::invalid("a request header holds characters that are not allowed"))?;
    let stream = timeout(CONNECT_LIMIT, connect(host, port))
        .await
        .map_err(|_| unavailable(host, "no connection in 10 s"))??;
    if tls {
        let connector = TlsConnector::from(tls_config(ca_file)?);
        let name =
            ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).doing("reading the host name")?;
        let stream = timeout(CONNECT_LIMIT, connector.connect(name, stream))
            .await
            .map_err(|_| unavailable(host, "no TLS handshake in 10 s"))?
            .map_err(|error| unavailable(host, &format!("TLS: {error}")))?;
        exchange(TokioIo::new(stream), request, host).await
    } else {
        exchange(TokioIo::new(stream), request, host).await
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let mut last = String::from("no address");
    for ip in resolve(host).await.map_err(|error| unavailable(host, &error.message))? {
        match TcpStream::connect((ip, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("{ip} port {port}: {error}"),
        }
    }
    Err(unavailable(host, &last))
}

/// The kubelet looks for this very prefix with code Unknown (`image.pull.registry-unavailable`).
fn unavailable(host: &str, why: &str) -> Error {
    Error::new(
        tonic::Code::Unknown,
        format!("RegistryUnavailable: {host} cannot be reached: {why}; is the registry up?"),
    )
}

async fn exchange<S>(io: S, request: Request<Full<Bytes>>, host: &str) -> Result<Response<Incoming>>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|error| unavailable(host, &error.to_string()))?;
    // The connection ends when the response body has been read or dropped.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    timeout(PROGRESS_LIMIT, sender.send_request(request))
        .await
        .map_err(|_| unavailable(host, "no answer in 30 s"))?
        .map_err(|error| unavailable(host, &error.to_string()))
}

fn tls_config(ca_file: Option<&str>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for file in ca_file.into_iter().chain(CA_BUNDLES) {
        if let Ok(certificates) = CertificateDer::pem_file_iter(file) {
            roots.add_parsable_certificates(certificates.flatten());
            if Some(file) != ca_file {
                break;
            }
        }
    }
    if roots.is_empty() {
        return Err(Error::internal(
            "no certificate authorities on this host: install ca-certificates or set ca_file for the registry",
        ));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .doing("setting up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Reads a body whole, at most `limit` bytes.
pub async fn read_all(mut body: Incoming, limit: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(chunk) = next_chunk(&mut body).await? {
        if out.len() + chunk.len() > limit {
            return Err(Error::invalid(format!(
                "the registry's answer is larger than {limit} bytes; refused"
            )));
        }
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}

/// The next piece of a body; `None` at its end.
pub async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        let frame = timeout(PROGRESS_LIMIT, body.frame())
            .await
            .map_err(|_| Error::deadline("the registry sent nothing for 30 s; pull ended, try again"))?;
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => {
                return Err(Error::internal(format!("the transfer broke off: {error}; try again")));
            }
        }
    }
}
