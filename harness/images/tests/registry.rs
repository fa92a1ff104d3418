//! The registry over real connections: content, access, faults, counters.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use plimsoll_images::registry::{Access, Action, Credentials, Registry, Rule, Target};
use plimsoll_images::standard::Catalogue;
use plimsoll_images::{digest_of, push};

struct Answer {
    status: u16,
    headers: hyper::HeaderMap,
    body: Result<Bytes, String>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

async fn send(
    registry: &Registry,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Answer, String> {
    let stream = tokio::net::TcpStream::connect(registry.address()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", registry.host());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await;
    let response = response.map_err(|e| e.to_string())?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    connection.abort();
    Ok(Answer { status, headers, body: body.map_err(|e| e.to_string()) })
}

async fn get(registry: &Registry, path: &str) -> Answer {
    send(registry, Method::GET, path, &[]).await.unwrap()
}

fn with_image() -> (Registry, plimsoll_images::ImageSet) {
    let registry = Registry::start().unwrap();
    let image = Catalogue::new(vec![7; 40_000]).plain();
    let reference = registry.add("team/plain", "1", &image);
    assert_eq!(reference, format!("{}/team/plain:1", registry.host()));
    (registry, image)
}

fn layer(image: &plimsoll_images::ImageSet) -> String {
    let manifest = image.manifest_for(&plimsoll_images::Platform::host()).unwrap();
    format!("/v2/team/plain/blobs/{}", manifest.layers[0].digest)
}

#[tokio::test]
async fn serves_manifests_by_tag_and_digest_and_blobs() {
    let (registry, image) = with_image();
    let by_tag = get(&registry, "/v2/team/plain/manifests/1").await;
    assert_eq!(by_tag.status, 200);
    assert_eq!(by_tag.header("docker-content-digest"), image.root().digest);
    assert_eq!(by_tag.header("content-type"), image.root().media_type);
    let by_digest = get(&registry, &format!("/v2/team/plain/manifests/{}", image.root().digest)).await;
    assert_eq!(by_tag.body.unwrap(), by_digest.body.unwrap());
    let blob = get(&registry, &layer(&image)).await.body.unwrap();
    assert!(layer(&image).ends_with(&digest_of(&blob)));
    let part = send(&registry, Method::GET, &layer(&image), &[("range", "bytes=10-")]).await.unwrap();
    assert_eq!((part.status, part.body.unwrap()), (206, blob.slice(10..)));
    let head = send(&registry, Method::HEAD, &layer(&image), &[]).await.unwrap();
    assert_eq!(head.header("content-length"), blob.len().to_string());
    assert_eq!(get(&registry, "/v2/team/plain/manifests/none").await.status, 404);
    assert_eq!(get(&registry, "/v2/nobody/manifests/1").await.status, 404);
    let counters = registry.counters();
    assert_eq!((counters.manifests, counters.blobs, counters.total), (4, 3, 7));
    registry.remove_tag("team/plain", "1");
    assert_eq!(get(&registry, "/v2/team/plain/manifests/1").await.status, 404);
    registry.stop();
}

#[tokio::test]
async fn basic_access_wants_the_password() {
    let (registry, _image) = with_image();
    registry.set_access(Access::Basic(Credentials::new("ann", "secret")));
    let refused = get(&registry, "/v2/").await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").starts_with("Basic "));
    let value = |pair: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    let good = value("ann:secret");
    let bad = value("ann:wrong");
    let path = "/v2/team/plain/manifests/1";
    assert_eq!(send(&registry, Method::GET, path, &[("authorization", &good)]).await.unwrap().status, 200);
    assert_eq!(send(&registry, Method::GET, path, &[("authorization", &bad)]).await.unwrap().status, 401);
    assert_eq!(registry.counters().unauthorized, 2);
    registry.set_access(Access::Denied);
    assert_eq!(send(&registry, Method::GET, path, &[("authorization", &good)]).await.unwrap().status, 403);
}

#[tokio::test]
async fn bearer_access_goes_through_the_token_service() {
    let (registry, _image) = with_image();
    let path = "/v2/team/plain/manifests/1";
    registry.set_access(Access::Bearer(Credentials::new("ann", "secret")));
    let challenge = get(&registry, path).await;
    assert!(challenge.header("www-authenticate").contains("scope=\"repository:team/plain:pull\""));
    assert_eq!(get(&registry, "/token?service=x").await.status, 401);
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("ann:secret"));
    let answer = send(&registry, Method::GET, "/token", &[("authorization", &basic)]).await.unwrap();
    let token: serde_json::Value = serde_json::from_slice(&answer.body.unwrap()).unwrap();
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    assert_eq!(send(&registry, Method::GET, path, &[("authorization", &bearer)]).await.unwrap().status, 200);
    registry.expire_tokens();
    assert_eq!(send(&registry, Method::GET, path, &[("authorization", &bearer)]).await.unwrap().status, 401);

    registry.set_access(Access::Identity("id-token".into()));
    assert_eq!(get(&registry, "/token?grant_type=refresh_token&refresh_token=other").await.status, 401);
    assert_eq!(get(&registry, "/token?grant_type=refresh_token&refresh_token=id%2Dtoken").await.status, 200);
    registry.set_access(Access::Token("fixed".into()));
    assert_eq!(
        send(&registry, Method::GET, path, &[("authorization", "Bearer fixed")]).await.unwrap().status,
        200
    );
}

#[tokio::test]
async fn faults_hit_what_they_name_and_wear_off() {
    let (registry, image) = with_image();
    let manifest = "/v2/team/plain/manifests/1";
    registry.fault(Rule::new(Action::status(503)).on(Target::Manifest).after(1).times(1));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(get(&registry, manifest).await.status);
    }
    assert_eq!(statuses, [200, 503, 200]);
    registry.fault(Rule::new(Action::too_many_requests(2)).containing("manifests").times(1));
    let limited = get(&registry, manifest).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, "2"));
    registry.clear_faults();

    let good = get(&registry, &layer(&image)).await.body.unwrap();
    registry.fault(Rule::new(Action::Corrupt).on(Target::Blob).times(1));
    let corrupt = get(&registry, &layer(&image)).await.body.unwrap();
    assert_eq!(corrupt.len(), good.len());
    assert_ne!(corrupt, good);
    registry.fault(Rule::new(Action::Truncate(100)).on(Target::Blob).times(1));
    assert!(get(&registry, &layer(&image)).await.body.is_err());
    registry.fault(Rule::new(Action::Cut).on(Target::Blob).times(1));
    let cut = send(&registry, Method::GET, &layer(&image), &[]).await;
    assert!(cut.is_err() || cut.is_ok_and(|a| a.body.is_err()));
    registry.fault(Rule::new(Action::Redirect { hops: 2 }).on(Target::Blob));
    let moved = get(&registry, &layer(&image)).await;
    assert_eq!(moved.status, 307);
    let location = moved.header("location").to_owned();
    let path = location.split_once(&registry.host()).unwrap().1;
    assert_eq!(get(&registry, path).await.status, 307);
    assert_eq!(get(&registry, &path.replace("hop=1", "hop=2")).await.body.unwrap(), good);
    assert!(registry.counters().faulted >= 8);
}

#[tokio::test]
async fn a_stalled_answer_does_not_keep_the_registry_from_stopping() {
    let (registry, image) = with_image();
    let silence = Duration::from_secs(600);
    registry.fault(Rule::new(Action::Stall { after: 10, silence }).on(Target::Blob));
    let stuck = tokio::time::timeout(Duration::from_millis(300), get(&registry, &layer(&image))).await;
    assert!(stuck.is_err(), "the answer should stall");
    let start = Instant::now();
    tokio::task::spawn_blocking(move || registry.stop()).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn push_brings_every_blob_and_the_tag() {
    let (registry, _image) = with_image();
    registry.set_access(Access::Basic(Credentials::new("ann", "secret")));
    let image = Catalogue::new(vec![1; 1000]).multi_platform();
    let reference = format!("{}/pushed/multi:2", registry.host());
    let refused = push::Pusher::new().push(&reference, &image).await.unwrap_err();
    assert!(refused.to_string().contains("401"), "{refused}");
    let pusher = push::Pusher::new().credentials(Credentials::new("ann", "secret"));
    pusher.push(&reference, &image).await.unwrap();
    registry.set_access(Access::Open);
    let manifest = get(&registry, "/v2/pushed/multi/manifests/2").await;
    assert_eq!(manifest.header("docker-content-digest"), image.root().digest);
    let tags = get(&registry, "/v2/pushed/multi/tags/list").await.body.unwrap();
    assert!(String::from_utf8_lossy(&tags).contains("\"2\""));
    assert!(push::Pusher::new().push("no-slash", &image).await.is_err());
}
