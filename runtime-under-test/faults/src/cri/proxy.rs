//! The proxy itself: HTTP/2 on both sides, bodies passed through unless a step concerns the call.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, BodyStream, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify};

use super::exchange::{Memory, active};
use super::grpc::{self, Body, BodyError};
use super::interface::interface;
use super::log;
use super::script::{Op, Step, StreamFault};
use super::stream;
use super::wire;
use crate::json::edit::NoVars;

/// Largest message that is decoded; twice what clients and servers allow by default.
const MESSAGE_LIMIT: usize = 64 << 20;

/// Longest time to reach the real endpoint.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// gRPC status `Unavailable`.
const UNAVAILABLE: u32 = 14;

/// What the proxy is to do.
pub struct Options {
    /// The socket to make. It must not exist.
    pub listen: PathBuf,
    /// The real endpoint's socket.
    pub upstream: PathBuf,
    /// The fault.
    pub steps: Vec<Step>,
}

struct Proxy {
    options: Options,
    sender: Mutex<Option<SendRequest<Body>>>,
    memory: Memory,
    serial: Mutex<()>,
}

/// Serves until `stop` is ready, then removes the socket.
pub async fn serve(options: Options, stop: impl Future<Output = ()>) -> io::Result<()> {
    let listener = UnixListener::bind(&options.listen)?;
    let path = options.listen.clone();
    let proxy = Arc::new(Proxy {
        options,
        sender: Mutex::new(None),
        memory: Memory::default(),
        serial: Mutex::new(()),
    });
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                tokio::spawn(connection(Arc::clone(&proxy), stream));
            }
        }
    }
    std::fs::remove_file(path)
}

async fn connection(proxy: Arc<Proxy>, stream: UnixStream) {
    let kill = Arc::new(Notify::new());
    let service = {
        let kill = Arc::clone(&kill);
        service_fn(move |request| {
            let (proxy, kill) = (Arc::clone(&proxy), Arc::clone(&kill));
            async move { Ok::<_, Infallible>(proxy.handle(request, &kill).await) }
        })
    };
    let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        () = kill.notified() => {}
    }
}

/// A unary answer of the endpoint, read whole.
struct Answer {
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

impl Answer {
    fn status(&self) -> u32 {
        grpc::status_of(&self.headers, self.trailers.as_ref())
    }

    /// The answer as it came.
    fn into_response(self) -> Response<Body> {
        let mut frames: Vec<Result<Frame<Bytes>, BodyError>> = Vec::new();
        if !self.body.is_empty() {
            frames.push(Ok(Frame::data(self.body)));
        }
        frames.extend(self.trailers.map(|t| Ok(Frame::trailers(t))));
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync());
        *response.headers_mut() = self.headers;
        response
    }
}

impl Proxy {
    async fn handle(&self, request: Request<Incoming>, kill: &Notify) -> Response<Body> {
        let rpc = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let concerned = self.options.steps.iter().any(|s| s.rpcs.is_empty() || s.rpcs.contains(&rpc));
        let result = if concerned && interface().rpcs.contains_key(&rpc) {
            self.exchange(&rpc, request, kill).await
        } else {
            self.forward(request.map(incoming)).await
        };
        result.unwrap_or_else(|e| grpc::error(UNAVAILABLE, &format!("plimsoll-faults proxy: {e}")))
    }

    async fn forward(&self, request: Request<Body>) -> Result<Response<Body>, String> {
        let mut sender = self.sender().await?;
        let response = sender.send_request(request).await.map_err(text)?;
        Ok(response.map(incoming))
    }

    /// The connection to the endpoint, made anew when the old one is gone.
    async fn sender(&self) -> Result<SendRequest<Body>, String> {
        let mut slot = self.sender.lock().await;
        if let Some(sender) = slot.as_ref().filter(|s| !s.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = tokio::time::timeout(CONNECT_LIMIT, UnixStream::connect(&self.options.upstream)).await;
        let stream = stream.map_err(text)?.map_err(text)?;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(text)?;
        tokio::spawn(connection);
        *slot = Some(sender.clone());
        Ok(sender)
    }

    async fn exchange(
        &self,
        rpc: &str,
        request: Request<Incoming>,
        kill: &Notify,
    ) -> Result<Response<Body>, String> {
        let facts = &interface().rpcs[rpc];
        let (parts, body) = request.into_parts();
        let raw = Limited::new(body, MESSAGE_LIMIT).collect().await.map_err(text)?.to_bytes();
        let message = grpc::single(&raw);
        let value = message.as_ref().and_then(|m| wire::decode(&facts.request, m)).unwrap_or(Value::Null);
        let ops = active(&self.options.steps, rpc, &value, &raw, &self.memory);
        let serial = ops.iter().any(|op| matches!(op, Op::Serialise));
        let _guard = if serial { Some(self.serial.lock().await) } else { None };
        if let Some(early) = self.before(rpc, (&raw, &value), &ops, kill, &parts).await? {
            return Ok(early);
        }
        let mut edited = value.clone();
        for op in &ops {
            if let Op::Request(edit, _) = op {
                edit.apply(&mut edited, &NoVars);
            }
        }
        let payload =
            if edited == value { raw.clone() } else { grpc::frame(&wire::encode(&facts.request, &edited)) };
        if ops.iter().any(|op| matches!(op, Op::Twice)) {
            let first = self.forward(with_body(&parts, payload.clone())?).await?;
            let _ = read_answer(first).await;
        }
        let log = self.doomed_log(&ops, &value, &parts).await;
        let response = self.forward(with_body(&parts, payload)?).await?;
        if facts.streams {
            let ops: Vec<Op> = ops.into_iter().cloned().collect();
            return Ok(edit_stream(response, facts.response.clone(), ops));
        }
        let answer = read_answer(response).await?;
        if let Some(log) = log.filter(|_| answer.status() == 0) {
            let _ = std::fs::remove_file(log);
        }
        Ok(self.after(rpc, &raw, &ops, answer).await)
    }

    /// Everything that can end a call before it is forwarded.
    async fn before(
        &self,
        rpc: &str,
        (raw, value): (&Bytes, &Value),
        ops: &[&Op],
        kill: &Notify,
        parts: &http::request::Parts,
    ) -> Result<Option<Response<Body>>, String> {
        for op in ops {
            match op {
                Op::Delay(time) => tokio::time::sleep(*time).await,
                Op::Error(code, message) => return Ok(Some(grpc::error(*code, message))),
                Op::Swallow => return Ok(Some(grpc::success(&[], None))),
                Op::Reset => {
                    kill.notify_one();
                    std::future::pending::<()>().await;
                }
                Op::Cache(fresh) => {
                    if let Some(answer) = self.memory.answer(rpc, raw, *fresh) {
                        return Ok(Some(grpc::success(&answer, None)));
                    }
                }
                Op::Prior(other, value) => {
                    let _ = self.side_call(other, value, parts).await;
                }
                Op::Require(other) => {
                    let answer = self.side_call(other, value, parts).await?;
                    if answer.status() != 0 {
                        return Ok(Some(answer.into_response()));
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Another call on the same connection, with the headers of this one.
    async fn side_call(
        &self,
        rpc: &str,
        value: &Value,
        parts: &http::request::Parts,
    ) -> Result<Answer, String> {
        let facts = &interface().rpcs[rpc];
        let mut parts = parts.clone();
        let authority = parts.uri.authority().map_or("localhost", http::uri::Authority::as_str);
        parts.uri = format!("http://{authority}/runtime.v1.{}/{rpc}", facts.service).parse().map_err(text)?;
        let payload = grpc::frame(&wire::encode(&facts.request, value));
        read_answer(self.forward(with_body(&parts, payload)?).await?).await
    }

    /// The log that a step wants gone, of the container in the request.
    async fn doomed_log(&self, ops: &[&Op], value: &Value, parts: &http::request::Parts) -> Option<PathBuf> {
        if !ops.contains(&&Op::UnlinkLog) {
            return None;
        }
        let answer = self.side_call("ContainerStatus", value, parts).await.ok()?;
        let status = wire::decode("ContainerStatusResponse", &grpc::single(&answer.body)?)?;
        status.get("status")?.get("log_path")?.as_str().map(PathBuf::from)
    }

    async fn after(&self, rpc: &str, raw: &Bytes, ops: &[&Op], answer: Answer) -> Response<Body> {
        let facts = &interface().rpcs[rpc];
        let status = answer.status();
        for op in ops {
            match op {
                Op::Late(time) => tokio::time::sleep(*time).await,
                Op::Garbage => return grpc::success(&[0xff, 0xff, 0xff, 0x07, 0x0b], None),
                Op::MapError(from, to) if status != 0 && from.is_none_or(|f| f == status) => {
                    return grpc::error(*to, "injected");
                }
                Op::FailLate(code) if status == 0 => return grpc::error(*code, "injected"),
                Op::Forgive(from) if status != 0 && from.is_none_or(|f| f == status) => {
                    return grpc::success(&[], None);
                }
                _ => {}
            }
        }
        let Some(mut message) = grpc::single(&answer.body).filter(|_| status == 0) else {
            return answer.into_response();
        };
        if let Some(value) = wire::decode(&facts.response, &message) {
            let mut edited = value.clone();
            log::spoil(&value, ops, &self.memory);
            for op in ops {
                match op {
                    Op::Response(edit, _) => edit.apply(&mut edited, &NoVars),
                    Op::Keep(path) => self.memory.keep(rpc, raw, path, &mut edited),
                    Op::Stream(fault) => lead_astray(&mut edited, *fault).await,
                    _ => {}
                }
            }
            if edited != value {
                message = wire::encode(&facts.response, &edited).into();
            }
        }
        for op in ops {
            match op {
                Op::Oversize(bytes) => message = oversized(&message, *bytes),
                Op::Cache(_) => self.memory.remember(rpc, raw, &message),
                _ => {}
            }
        }
        grpc::success(&message, answer.trailers)
    }
}

/// An error as text: all that a caller needs, and free of lifetimes.
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A body from the network.
fn incoming(body: Incoming) -> Body {
    body.map_err(|e| BodyError(e.to_string())).boxed_unsync()
}

/// Leads the URL of an answer through a relay that spoils what it carries.
async fn lead_astray(answer: &mut Value, fault: StreamFault) {
    let Some(url) = answer.get("url").and_then(Value::as_str) else { return };
    match stream::relay(url, fault).await {
        Ok(spoilt) => answer["url"] = Value::String(spoilt),
        Err(e) => eprintln!("plimsoll-faults: cannot inject a stream fault: {e}"),
    }
}

/// The message with an unknown field of the given size behind it.
fn oversized(message: &Bytes, bytes: usize) -> Bytes {
    let mut out = BytesMut::from(&message[..]);
    // Field 2047, length-delimited.
    out.extend_from_slice(&[0xfa, 0x7f]);
    let mut length = bytes;
    while length >= 0x80 {
        out.extend_from_slice(&[(length as u8 & 0x7f) | 0x80]);
        length >>= 7;
    }
    out.extend_from_slice(&[length as u8]);
    out.resize(out.len() + bytes, b'x');
    out.freeze()
}

fn with_body(parts: &http::request::Parts, payload: Bytes) -> Result<Request<Body>, String> {
    let mut request =
        Request::builder().method(parts.method.clone()).uri(parts.uri.clone()).version(parts.version);
    if let Some(headers) = request.headers_mut() {
        *headers = parts.headers.clone();
        headers.remove("content-length");
    }
    request.body(Full::new(payload).map_err(|never| match never {}).boxed_unsync()).map_err(text)
}

async fn read_answer(response: Response<Body>) -> Result<Answer, String> {
    let (parts, body) = response.into_parts();
    // Bodies that fail part-way fail the call; the limit's error type is boxed already.
    let collected = Limited::new(body, MESSAGE_LIMIT).collect().await.map_err(text)?;
    let trailers = collected.trailers().cloned();
    Ok(Answer { headers: parts.headers, body: collected.to_bytes(), trailers })
}

/// A stream of messages, each edited, lost or doubled on its way.
fn edit_stream(response: Response<Body>, message: String, ops: Vec<Op>) -> Response<Body> {
    response.map(|body| {
        let state = (BodyStream::new(body), Editor::new(message, ops));
        let frames = futures_util::stream::unfold(state, |(mut body, mut editor)| async move {
            loop {
                if let Some(frame) = editor.ready.pop_front() {
                    return Some((Ok(frame), (body, editor)));
                }
                match body.next().await? {
                    Ok(frame) => editor.take(frame),
                    Err(e) => return Some((Err(e), (body, editor))),
                }
            }
        });
        StreamBody::new(frames).boxed_unsync()
    })
}

struct Editor {
    message: String,
    ops: Vec<Op>,
    buffer: BytesMut,
    held: Option<Bytes>,
    ready: std::collections::VecDeque<Frame<Bytes>>,
}

impl Editor {
    fn new(message: String, ops: Vec<Op>) -> Editor {
        Editor { message, ops, buffer: BytesMut::new(), held: None, ready: std::collections::VecDeque::new() }
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => {
                self.buffer.extend_from_slice(&data);
                while let Some((compressed, message)) = grpc::take_message(&mut self.buffer) {
                    self.pass(compressed, &message);
                }
            }
            Err(trailers) => {
                self.ready.extend(self.held.take().map(Frame::data));
                self.ready.push_back(trailers);
            }
        }
    }

    fn pass(&mut self, compressed: bool, message: &Bytes) {
        let Some(mut value) = wire::decode(&self.message, message).filter(|_| !compressed) else {
            self.ready.push_back(Frame::data(grpc::frame(message)));
            return;
        };
        if self.ops.iter().any(|op| matches!(op, Op::Filter(path) if path.count(&value) > 0)) {
            return;
        }
        for op in &self.ops {
            if let Op::Response(edit, _) = op {
                edit.apply(&mut value, &NoVars);
            }
        }
        let framed = if self.ops.contains(&Op::Garbage) {
            grpc::frame(&[0xff, 0xff, 0xff, 0x07, 0x0b])
        } else {
            grpc::frame(&wire::encode(&self.message, &value))
        };
        if self.ops.contains(&Op::Reorder) {
            match self.held.take() {
                None => self.held = Some(framed),
                Some(earlier) => self.ready.extend([Frame::data(framed), Frame::data(earlier)]),
            }
            return;
        }
        if self.ops.contains(&Op::Duplicate) {
            self.ready.push_back(Frame::data(framed.clone()));
        }
        self.ready.push_back(Frame::data(framed));
    }
}
