//! Requests and answers.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::oneshot;

use super::auth::Decision;
use super::fault::{Action, Target, error_body};
use super::{LOG_LIMIT, Seen, Shared};
use crate::blob::{Blob, digest_of};

/// Body bytes of one request at most.
const BODY_LIMIT: usize = 512 << 20;
/// Bytes sent at a time.
const CHUNK: usize = 64 << 10;

/// Serves until told to stop.
pub(super) async fn run(listener: tokio::net::TcpListener, shared: Shared, stopped: oneshot::Receiver<()>) {
    let router = Router::new().fallback(handle).with_state(shared);
    tokio::select! {
        _ = axum::serve(listener, router) => {}
        _ = stopped => {}
    }
}

/// A request path taken apart.
struct Route {
    target: Target,
    repository: String,
    /// Tag, digest or upload name.
    object: String,
}

fn route(path: &str) -> Route {
    let other = |target| Route { target, repository: String::new(), object: String::new() };
    if path == "/token" {
        return other(Target::Token);
    }
    let Some(rest) = path.strip_prefix("/v2/") else {
        return other(if path == "/v2" { Target::Ping } else { Target::Other });
    };
    if rest.is_empty() {
        return other(Target::Ping);
    }
    let kinds = [
        ("/manifests/", Target::Manifest),
        ("/blobs/uploads/", Target::Upload),
        ("/blobs/", Target::Blob),
        ("/tags/", Target::Other),
    ];
    for (middle, target) in kinds {
        if let Some((repository, object)) = rest.rsplit_once(middle) {
            return Route { target, repository: repository.into(), object: object.into() };
        }
    }
    other(Target::Other)
}

async fn handle(State(shared): State<Shared>, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let full = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let route = route(head.uri.path());
    let authorization = text(&head.headers, header::AUTHORIZATION);
    let action = {
        let mut inner = shared.lock();
        let found = inner.rules.iter_mut().find_map(|r| r.take(route.target, &route.repository, &full));
        inner.counters.faulted += u64::from(found.is_some());
        found
    };
    let answer = match action {
        Some(Action::Cut) => None,
        Some(Action::Answer { status, headers, body }) => Some(answer_of(status, &headers, body)),
        Some(Action::Redirect { hops }) => redirect(&shared, &head.uri, &route, hops),
        Some(Action::Delay(time)) => {
            tokio::time::sleep(time).await;
            Some(regular(&shared, &head, body, &route).await)
        }
        Some(action) => {
            let answer = regular(&shared, &head, body, &route).await;
            Some(if answer.status().is_success() { spoil(answer, action).await } else { answer })
        }
        None => Some(regular(&shared, &head, body, &route).await),
    };
    remember(&shared, &head, full, route.target, &authorization, answer.as_ref());
    Ok(answer.unwrap_or_else(cut))
}

/// An answer whose body fails before its first byte, which makes the server drop the connection.
fn cut() -> Response<Body> {
    let failing = stream::iter([Err::<Bytes, _>(io::Error::other("cut by a fault rule"))]);
    let mut response = Response::new(Body::from_stream(failing));
    response.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from_static("1"));
    response
}

fn remember(
    shared: &Shared,
    head: &Parts,
    path: String,
    target: Target,
    authorization: &str,
    answer: Option<&Response<Body>>,
) {
    let status = answer.map_or(0, |a| a.status().as_u16());
    let mut inner = shared.lock();
    let counters = &mut inner.counters;
    counters.total += 1;
    counters.unauthorized += u64::from(status == 401);
    match target {
        Target::Manifest => counters.manifests += 1,
        Target::Blob => counters.blobs += 1,
        Target::Token => counters.tokens += 1,
        Target::Ping | Target::Upload | Target::Other => {}
    }
    let authorization = match authorization.split(' ').next() {
        Some("Basic") => "basic",
        Some("Bearer") => "bearer",
        _ => "none",
    };
    if inner.seen.len() >= LOG_LIMIT {
        inner.seen.pop_front();
    }
    let agent = text(&head.headers, header::USER_AGENT);
    inner.seen.push_back(Seen {
        method: head.method.to_string(),
        path,
        target,
        authorization,
        agent,
        status,
    });
}

async fn regular(shared: &Shared, head: &Parts, body: Body, route: &Route) -> Response<Body> {
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return plain_error(413);
    };
    let authorization = text(&head.headers, header::AUTHORIZATION);
    if route.target == Target::Token {
        return token(shared, &authorization, head.uri.query().unwrap_or_default(), &body);
    }
    let host = shared.address.to_string();
    let decision = {
        let inner = shared.lock();
        inner.access.decide(&inner.tokens, &authorization, &host, &route.repository)
    };
    match decision {
        Decision::Allowed => {}
        Decision::Forbidden => return plain_error(403),
        Decision::Challenge(challenge) => {
            return answer_of(401, &[("WWW-Authenticate".into(), challenge)], error_body(401));
        }
    }
    match (&head.method, route.target) {
        (_, Target::Ping) => answer_of(200, &[], "{}".into()),
        (&Method::GET | &Method::HEAD, Target::Manifest) => manifest(shared, route),
        (&Method::GET | &Method::HEAD, Target::Blob) => blob(shared, route, &head.headers),
        (&Method::GET, Target::Other) => tags(shared, route),
        (&Method::PUT, Target::Manifest) => put_manifest(shared, route, &head.headers, body),
        (_, Target::Upload) => upload(shared, head, route, &body),
        _ => plain_error(405),
    }
}

fn token(shared: &Shared, authorization: &str, query: &str, body: &Bytes) -> Response<Body> {
    let mut form = pairs(query);
    form.extend(pairs(&String::from_utf8_lossy(body)));
    let mut inner = shared.lock();
    let inner = &mut *inner;
    match inner.access.token(&mut inner.tokens, authorization, &form) {
        Some(token) => answer_of(
            200,
            &[("Content-Type".into(), "application/json".into())],
            format!("{{\"token\":\"{token}\",\"access_token\":\"{token}\",\"expires_in\":300}}"),
        ),
        None => plain_error(401),
    }
}

fn manifest(shared: &Shared, route: &Route) -> Response<Body> {
    match shared.lock().store.manifest(&route.repository, &route.object) {
        Some((digest, blob)) => content(&digest, &blob, 0),
        None => plain_error(404),
    }
}

fn blob(shared: &Shared, route: &Route, headers: &HeaderMap) -> Response<Body> {
    let range = text(headers, header::RANGE);
    let from = range
        .strip_prefix("bytes=")
        .and_then(|r| r.split('-').next())
        .and_then(|n| n.parse::<usize>().ok())
        .unwrap_or(0);
    let found = shared.lock().store.blob(&route.repository, &route.object);
    match found {
        Some(blob) if from > 0 && from >= blob.data.len() => plain_error(416),
        Some(blob) => content(&route.object, &blob, from),
        None => plain_error(404),
    }
}

fn content(digest: &str, blob: &Blob, from: usize) -> Response<Body> {
    let headers = [
        ("Content-Type".to_owned(), blob.media_type.clone()),
        ("Docker-Content-Digest".to_owned(), digest.to_owned()),
        ("Etag".to_owned(), format!("\"{digest}\"")),
    ];
    let data = blob.data.slice(from..);
    let len = data.len();
    let mut response = if from == 0 {
        answer_of(200, &headers, String::new())
    } else {
        let total = blob.data.len();
        let mut headers = headers.to_vec();
        headers.push(("Content-Range".into(), format!("bytes {from}-{}/{total}", total - 1)));
        answer_of(206, &headers, String::new())
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, len.into());
    *response.body_mut() = Body::from(data);
    response
}

fn tags(shared: &Shared, route: &Route) -> Response<Body> {
    if route.object != "list" {
        return plain_error(404);
    }
    match shared.lock().store.tags(&route.repository) {
        Some(tags) => {
            let list = serde_json::json!({ "name": route.repository, "tags": tags });
            answer_of(200, &[("Content-Type".into(), "application/json".into())], list.to_string())
        }
        None => plain_error(404),
    }
}

fn put_manifest(shared: &Shared, route: &Route, headers: &HeaderMap, body: Bytes) -> Response<Body> {
    let media_type = text(headers, header::CONTENT_TYPE);
    if route.object.contains(':') && digest_of(&body) != route.object {
        return plain_error(400);
    }
    let digest = shared.lock().store.put_manifest(&route.repository, &route.object, &media_type, body);
    let location = format!("/v2/{}/manifests/{digest}", route.repository);
    answer_of(201, &[("Location".into(), location), ("Docker-Content-Digest".into(), digest)], String::new())
}

fn upload(shared: &Shared, head: &Parts, route: &Route, body: &[u8]) -> Response<Body> {
    let digest =
        pairs(head.uri.query().unwrap_or_default()).into_iter().find(|(n, _)| n == "digest").map(|(_, v)| v);
    let mut inner = shared.lock();
    let store = &mut inner.store;
    let name = match head.method {
        Method::POST if route.object.is_empty() => store.open_upload(),
        Method::PATCH | Method::PUT => route.object.clone(),
        _ => return plain_error(405),
    };
    let Some(size) = store.append(&name, body) else { return plain_error(404) };
    let done = head.method == Method::PUT || (head.method == Method::POST && digest.is_some());
    if !done {
        let location = format!("/v2/{}/blobs/uploads/{name}", route.repository);
        let range = format!("0-{}", size.saturating_sub(1));
        return answer_of(202, &[("Location".into(), location), ("Range".into(), range)], String::new());
    }
    let digest = digest.unwrap_or_default();
    if !store.finish_upload(&route.repository, &name, &digest) {
        return plain_error(400);
    }
    let location = format!("/v2/{}/blobs/{digest}", route.repository);
    answer_of(201, &[("Location".into(), location)], String::new())
}

/// Redirects to the same object with a counter in the query; `None` cannot happen but cuts.
fn redirect(shared: &Shared, uri: &Uri, route: &Route, hops: u32) -> Option<Response<Body>> {
    let done: u32 = pairs(uri.query().unwrap_or_default())
        .into_iter()
        .find(|(n, _)| n == "hop")
        .and_then(|(_, v)| v.parse().ok())
        .unwrap_or(0);
    if done >= hops {
        let inner = shared.lock();
        let found = match route.target {
            Target::Manifest => inner.store.manifest(&route.repository, &route.object),
            _ => inner.store.blob(&route.repository, &route.object).map(|b| (route.object.clone(), b)),
        };
        return found.map(|(digest, blob)| content(&digest, &blob, 0)).or_else(|| Some(plain_error(404)));
    }
    // Another name of the same address, as a content network would have.
    let port = shared.address.port();
    let location = format!("http://127.0.0.1:{port}{}?hop={}", uri.path(), done + 1);
    Some(answer_of(307, &[("Location".into(), location)], String::new()))
}

/// Applies a fault to a good answer.
async fn spoil(answer: Response<Body>, action: Action) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    let Ok(data) = axum::body::to_bytes(body, usize::MAX).await else { return plain_error(500) };
    let body = match action {
        Action::Corrupt => {
            let mut data = data.to_vec();
            let middle = data.len() / 2;
            if let Some(byte) = data.get_mut(middle) {
                *byte ^= 0xff;
            }
            Body::from(data)
        }
        Action::Truncate(after) => broken_after(&data, after, Duration::ZERO),
        Action::Stall { after, silence } => broken_after(&data, after, silence),
        Action::Drip(rate) => drip(data, rate.max(1)),
        Action::WrongDigestHeader => {
            if let Ok(value) = digest_of(b"something else").parse() {
                head.headers.insert("docker-content-digest", value);
            }
            Body::from(data)
        }
        Action::ContentType(kind) => {
            if let Ok(value) = kind.parse() {
                head.headers.insert(header::CONTENT_TYPE, value);
            }
            Body::from(data)
        }
        _ => Body::from(data),
    };
    Response::from_parts(head, body)
}

/// Sends `after` bytes, waits, and fails the body.
fn broken_after(data: &Bytes, after: usize, silence: Duration) -> Body {
    let first = data.slice(..after.min(data.len()));
    let parts = stream::unfold(Some(Some(first)), move |state| async move {
        if let Some(first) = state? {
            return Some((Ok(first), Some(None)));
        }
        tokio::time::sleep(silence).await;
        Some((Err(io::Error::other("cut by a fault rule")), None))
    });
    Body::from_stream(parts)
}

/// Sends `rate` bytes per second in ten pieces per second.
fn drip(data: Bytes, rate: usize) -> Body {
    let piece = (rate / 10).clamp(1, CHUNK);
    let pause = Duration::from_secs_f64(piece as f64 / rate as f64);
    let parts = stream::unfold(data, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let part = rest.split_to(piece.min(rest.len()));
        Some((Ok::<_, io::Error>(part), rest))
    });
    Body::from_stream(parts)
}

fn plain_error(status: u16) -> Response<Body> {
    answer_of(status, &[("Content-Type".into(), "application/json".into())], error_body(status))
}

fn answer_of(status: u16, headers: &[(String, String)], body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) =
            (header::HeaderName::try_from(name), header::HeaderValue::from_str(value))
        {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .insert("docker-distribution-api-version", header::HeaderValue::from_static("registry/2.0"));
    response
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
}

/// Pairs of a query or form, percent-decoded.
fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
