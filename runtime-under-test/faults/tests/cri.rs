//! The CRI proxy between a plain HTTP/2 client and an endpoint made for the test.

// Helpers of tests may unwrap; clippy knows only functions marked #[test].
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_faults::cri::interface::interface;
use plimsoll_faults::cri::{Options, script, serve, wire};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

fn framed(message: &[u8]) -> Bytes {
    let mut out = vec![0];
    out.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend(message);
    out.into()
}

fn answer(rpc: &str) -> Vec<Value> {
    match rpc {
        "Version" => vec![json!({"version": "0.1.0", "runtime_name": "made", "runtime_api_version": "v1"})],
        "ListPodSandbox" => vec![json!({"items": [{"id": "a", "state": 1}, {"id": "b"}]})],
        "GetContainerEvents" => {
            (0..3).map(|n| json!({"container_id": format!("c{n}"), "created_at": 7 + n})).collect()
        }
        _ => vec![json!({})],
    }
}

/// Answers every call with what `answer` says, `NotFound` for removals, and remembers the requests.
async fn endpoint(
    request: Request<Incoming>,
    seen: Seen,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let rpc = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let facts = &interface().rpcs[&rpc];
    let body = request.into_body().collect().await.unwrap().to_bytes();
    seen.lock().unwrap().push((rpc.clone(), wire::decode(&facts.request, &body[5..]).unwrap()));
    let mut trailers = HeaderMap::new();
    let failed = rpc == "RemoveContainer";
    trailers.insert("grpc-status", HeaderValue::from_static(if failed { "5" } else { "0" }));
    let mut frames = Vec::new();
    if !failed {
        frames
            .extend(answer(&rpc).iter().map(|v| Ok(Frame::data(framed(&wire::encode(&facts.response, v))))));
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

struct Bench {
    sender: SendRequest<Full<Bytes>>,
    seen: Seen,
    socket: PathBuf,
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

async fn bench(steps: &[&str]) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let (upstream, socket) = (dir.path().join("real"), dir.path().join("proxy"));
    let seen = Seen::default();
    let listener = UnixListener::bind(&upstream).unwrap();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            let service = service_fn(move |request| endpoint(request, Arc::clone(&log)));
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let steps = steps.iter().map(|s| script::parse(s).unwrap()).collect();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let options = Options { listen: socket.clone(), upstream, steps };
    let served = tokio::spawn(serve(options, async {
        let _ = stopped.await;
    }));
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stream = UnixStream::connect(&socket).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Bench { sender, seen, socket, stop, served, _dir: dir }
}

impl Bench {
    /// The status and the messages of one call.
    async fn call(&mut self, rpc: &str, request: &Value) -> Result<(u32, Vec<Value>), hyper::Error> {
        let facts = &interface().rpcs[rpc];
        let call = Request::post(format!("http://localhost/runtime.v1.{}/{rpc}", facts.service))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(framed(&wire::encode(&facts.request, request))))
            .unwrap();
        let response = self.sender.send_request(call).await?;
        let status =
            |h: &HeaderMap| h.get("grpc-status").map(|v| v.to_str().unwrap().parse::<u32>().unwrap());
        let early = status(response.headers());
        let body = response.into_body().collect().await?;
        let code = body.trailers().and_then(status).or(early).unwrap();
        let bytes = body.to_bytes();
        let (mut messages, mut rest) = (Vec::new(), &bytes[..]);
        while rest.len() >= 5 {
            let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
            messages.push(wire::decode(&facts.response, &rest[5..5 + length]).unwrap_or(Value::Null));
            rest = &rest[5 + length..];
        }
        Ok((code, messages))
    }

    async fn close(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap().unwrap();
        assert!(!self.socket.exists());
    }
}

/// One call through a proxy with these steps: status, messages, and what reached the endpoint.
async fn once(steps: &[&str], rpc: &str, request: Value) -> (u32, Vec<Value>, Vec<(String, Value)>) {
    let mut bench = bench(steps).await;
    let (code, messages) = bench.call(rpc, &request).await.unwrap();
    let seen = bench.seen.lock().unwrap().clone();
    bench.close().await;
    (code, messages, seen)
}

#[tokio::test]
async fn untouched_calls_pass_as_they_are() {
    for steps in [&[][..], &["Status swallow"]] {
        let (code, messages, seen) = once(steps, "Version", json!({"version": "x"})).await;
        assert_eq!((code, &messages), (0, &answer("Version")));
        assert_eq!(seen, [("Version".to_owned(), json!({"version": "x"}))]);
        assert_eq!(once(steps, "RemoveContainer", json!({"container_id": "c"})).await.0, 5);
        assert_eq!(once(steps, "GetContainerEvents", json!({})).await.1, answer("GetContainerEvents"));
    }
}

#[tokio::test]
async fn requests_and_responses_are_edited() {
    let steps = ["RunPodSandbox request drop /config/labels", "Version response set /runtime_name \"\""];
    let request = json!({"config": {"labels": {"a": "b"}, "hostname": "h"}});
    assert_eq!(once(&steps, "RunPodSandbox", request).await.2[0].1, json!({"config": {"hostname": "h"}}));
    let (_, messages, _) = once(&steps, "Version", json!({})).await;
    assert_eq!(messages[0], json!({"version": "0.1.0", "runtime_api_version": "v1"}));
}

#[tokio::test]
async fn calls_are_swallowed_failed_forgiven_and_mapped() {
    let (code, messages, seen) = once(&["StartContainer swallow"], "StartContainer", json!({})).await;
    assert_eq!((code, messages, seen.len()), (0, vec![json!({})], 0));
    let (code, _, seen) = once(&["* error Unavailable"], "Version", json!({})).await;
    assert_eq!((code, seen.len()), (14, 0));
    assert_eq!(once(&["* forgive NotFound"], "RemoveContainer", json!({})).await.0, 0);
    assert_eq!(once(&["* map-error * Unknown"], "RemoveContainer", json!({})).await.0, 2);
    assert_eq!(once(&["* map-error Internal Unknown"], "RemoveContainer", json!({})).await.0, 5);
    assert_eq!(once(&["Version twice"], "Version", json!({})).await.2.len(), 2);
    let steps = ["RemoveImage require RemoveContainer", "StopContainer require ContainerStatus"];
    let (code, _, seen) = once(&steps, "RemoveImage", json!({})).await;
    assert_eq!((code, seen.len()), (5, 1));
    let (code, _, seen) = once(&steps, "StopContainer", json!({"container_id": "c", "timeout": 3})).await;
    assert_eq!((code, &seen[0].1), (0, &json!({"container_id": "c"})));
    let garbage = once(&["Version garbage"], "Version", json!({})).await;
    assert_eq!((garbage.0, garbage.1), (0, vec![Value::Null]));
}

#[tokio::test]
async fn streams_are_filtered_doubled_and_reordered() {
    let ids = |messages: &[Value]| -> Vec<String> {
        messages.iter().map(|m| m["container_id"].as_str().unwrap().to_owned()).collect()
    };
    let events = |step: &'static str| async move { once(&[step], "GetContainerEvents", json!({})).await.1 };
    assert_eq!(ids(&events("GetContainerEvents filter /container_id[=c1]").await), ["c0", "c2"]);
    assert_eq!(ids(&events("GetContainerEvents duplicate").await), ["c0", "c0", "c1", "c1", "c2", "c2"]);
    assert_eq!(ids(&events("GetContainerEvents reorder").await), ["c1", "c0", "c2"]);
    assert_eq!(
        events("GetContainerEvents response drop /created_at").await[0],
        json!({"container_id": "c0"})
    );
}

#[tokio::test]
async fn what_was_before_matters() {
    let steps =
        ["when repeated => StopPodSandbox error NotFound", "Version failpoint 1*off->1*error(Aborted)->off"];
    let mut bench = bench(&steps).await;
    let request = json!({"pod_sandbox_id": "p"});
    assert_eq!(bench.call("StopPodSandbox", &request).await.unwrap().0, 0);
    assert_eq!(bench.call("StopPodSandbox", &request).await.unwrap().0, 5);
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(bench.call("Version", &json!({})).await.unwrap().0);
    }
    assert_eq!(codes, [0, 10, 0, 0]);
    bench.close().await;
}

#[tokio::test]
async fn a_reset_ends_the_connection_and_a_new_one_works() {
    let mut bench = bench(&["Version failpoint 1*reset->off"]).await;
    let request = json!({});
    let broken =
        tokio::time::timeout(Duration::from_secs(20), bench.call("Version", &request)).await.unwrap();
    assert!(broken.is_err());
    let stream = UnixStream::connect(&bench.socket).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    bench.sender = sender;
    assert_eq!(bench.call("Version", &request).await.unwrap().0, 0);
    bench.close().await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("proxy");
    let options = Options { listen: socket.clone(), upstream: dir.path().join("nobody"), steps: Vec::new() };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(options, async {
        let _ = stopped.await;
    }));
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stream = UnixStream::connect(&socket).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut bench = Bench { sender, seen: Seen::default(), socket, stop, served, _dir: dir };
    assert_eq!(bench.call("Version", &json!({})).await.unwrap().0, 14);
    bench.close().await;
}
