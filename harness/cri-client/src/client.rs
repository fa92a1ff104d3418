//! The connection and the two ways to call.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status, Streaming};

use crate::calls::{Rpc, Service};
use crate::error::CallError;
use crate::record::{Records, text_of};
use crate::target::Target;
use crate::v1;

/// Largest message sent or received, the limit of the kubelet's client.
pub const MESSAGE_LIMIT: usize = 16 << 20;

/// Extra time for the server's own deadline error to arrive before the client gives up.
const GRACE: Duration = Duration::from_millis(500);

/// Limits of a client.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time to connect to the socket.
    pub connect: Duration,
    /// Deadlines of all rpcs are multiplied by this, for slow machines.
    pub scale: f64,
    /// Bytes of a message in either direction.
    pub message_limit: usize,
    /// Records kept; 0 for none, which saves the time of making them.
    pub records: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), scale: 1.0, message_limit: MESSAGE_LIMIT, records: 512 }
    }
}

/// A client of one endpoint. Clones share connections and records; a lost connection is made anew
/// by the next call.
#[derive(Clone, Debug)]
pub struct Client {
    target: Target,
    options: Options,
    runtime: Channel,
    image: Channel,
    records: Records,
    deadline: Option<Duration>,
}

impl Client {
    /// Makes a client and asks `Version`, so that a wrong socket is found now.
    pub async fn connect(
        target: &Target,
        options: Options,
    ) -> Result<(Self, v1::VersionResponse), CallError> {
        let client = Self::lazy(target, options);
        let wait = client.options.connect;
        let version = client.with_deadline(wait).version(v1::VersionRequest::default()).await?;
        Ok((client, version))
    }

    /// Makes a client that connects with its first call. Needs a tokio runtime.
    pub fn lazy(target: &Target, options: Options) -> Self {
        let runtime = channel(target.runtime.clone(), options.connect);
        let image = match &target.image {
            Some(path) => channel(path.clone(), options.connect),
            None => runtime.clone(),
        };
        let records = Records::new(options.records);
        Self { target: target.clone(), options, runtime, image, records, deadline: None }
    }

    /// The endpoint.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// What was asked and answered lately.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The same client with one deadline for every rpc.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self.clone() }
    }

    /// The same client over connections of its own.
    #[must_use]
    pub fn reconnected(&self) -> Self {
        let fresh = Self::lazy(&self.target, self.options.clone());
        Self { records: self.records.clone(), deadline: self.deadline, ..fresh }
    }

    /// The deadline that a call of this rpc gets.
    pub fn deadline_of(&self, rpc: &Rpc) -> Duration {
        self.deadline.unwrap_or_else(|| Duration::from_secs(rpc.seconds).mul_f64(self.options.scale))
    }

    /// Text for the record of a call; empty when none are kept, since making it costs time.
    fn text<T: Debug>(&self, message: &T) -> String {
        if self.records.wanted() { text_of(message) } else { String::new() }
    }

    fn grpc(&self, service: Service) -> Grpc<Channel> {
        let channel = match service {
            Service::Runtime => self.runtime.clone(),
            Service::Image => self.image.clone(),
        };
        Grpc::new(channel)
            .max_decoding_message_size(self.options.message_limit)
            .max_encoding_message_size(self.options.message_limit)
    }

    pub(crate) async fn unary<Q, R>(&self, rpc: &'static Rpc, request: Q) -> Result<R, CallError>
    where
        Q: Message + Debug + 'static,
        R: Message + Default + Debug + 'static,
    {
        let path = rpc.path();
        let codec = tonic_prost::ProstCodec::<Q, R>::default();
        self.call(rpc.name, rpc.service, path, codec, request, self.deadline_of(rpc)).await
    }

    /// One call with any codec, timed, bounded and recorded.
    pub(crate) async fn call<C, Q, R>(
        &self,
        name: &'static str,
        service: Service,
        path: String,
        codec: C,
        request: Q,
        deadline: Duration,
    ) -> Result<R, CallError>
    where
        C: Codec<Encode = Q, Decode = R>,
        Q: Debug + Send + Sync + 'static,
        R: Debug + Send + Sync + 'static,
    {
        let (started, clock) = (SystemTime::now(), Instant::now());
        let asked = self.text(&request);
        let mut grpc = self.grpc(service);
        let answer = timeout(deadline + GRACE, async {
            grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
            let mut request = Request::new(request);
            request.set_timeout(deadline);
            let path = PathAndQuery::try_from(path).map_err(|e| Status::from_error(e.into()))?;
            grpc.unary(request, path, codec).await
        })
        .await;
        let took = clock.elapsed();
        let result = match answer {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(CallError::new(name, &status, took, deadline)),
            Err(_) => Err(CallError::deadline(name, took)),
        };
        let (text, code) = match &result {
            Ok(response) => (self.text(response), Code::Ok),
            Err(error) => (error.message.clone(), error.code),
        };
        self.records.add(name, asked, text, code, started, took);
        result
    }

    pub(crate) async fn streaming<Q, R>(&self, rpc: &'static Rpc, request: Q) -> Result<Receive<R>, CallError>
    where
        Q: Message + Debug + 'static,
        R: Message + Default + Debug + 'static,
    {
        let (started, clock) = (SystemTime::now(), Instant::now());
        let deadline = self.deadline_of(rpc);
        let asked = self.text(&request);
        let mut grpc = self.grpc(rpc.service);
        let opened = timeout(deadline + GRACE, async {
            grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
            let path = PathAndQuery::try_from(rpc.path()).map_err(|e| Status::from_error(e.into()))?;
            let codec = tonic_prost::ProstCodec::<Q, R>::default();
            grpc.server_streaming(Request::new(request), path, codec).await
        })
        .await;
        let took = clock.elapsed();
        let result = match opened {
            Ok(Ok(response)) => {
                Ok(Receive { rpc: rpc.name, stream: Some(response.into_inner()), opened: clock, deadline })
            }
            Ok(Err(status)) => Err(CallError::new(rpc.name, &status, took, deadline)),
            // A server may send nothing, not even headers, until it has something to say.
            Err(_) => Err(CallError::deadline(rpc.name, took)),
        };
        let (text, code) = match &result {
            Ok(_) => ("stream".to_owned(), Code::Ok),
            Err(error) => (error.message.clone(), error.code),
        };
        self.records.add(rpc.name, asked, text, code, started, took);
        result
    }
}

/// The receiving end of a server stream. The status of the call comes with the first message that
/// does not come, not with the opening.
#[derive(Debug)]
pub struct Receive<R> {
    rpc: &'static str,
    stream: Option<Streaming<R>>,
    opened: Instant,
    deadline: Duration,
}

impl<R> Receive<R> {
    /// The next message, `None` at the end of the stream; a deadline error when nothing came within `wait`,
    /// after which the stream can still be used.
    pub async fn next(&mut self, wait: Duration) -> Result<Option<R>, CallError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let clock = Instant::now();
        match timeout(wait, stream.message()).await {
            Ok(Ok(Some(message))) => Ok(Some(message)),
            Ok(Ok(None)) => {
                self.stream = None;
                Ok(None)
            }
            Ok(Err(status)) => {
                self.stream = None;
                Err(CallError::new(self.rpc, &status, self.opened.elapsed(), Duration::MAX))
            }
            Err(_) => Err(CallError::deadline(self.rpc, clock.elapsed())),
        }
    }

    /// Every message until the end of the stream, within the deadline of the rpc.
    pub async fn all(mut self) -> Result<Vec<R>, CallError> {
        let mut messages = Vec::new();
        let clock = Instant::now();
        loop {
            let left = self.deadline.saturating_sub(clock.elapsed());
            match self.next(left).await? {
                Some(message) => messages.push(message),
                None => return Ok(messages),
            }
        }
    }
}

/// A channel to a unix socket that connects when it is first used and again after a loss.
fn channel(path: PathBuf, limit: Duration) -> Channel {
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move {
            match timeout(limit, UnixStream::connect(&path)).await {
                Ok(Ok(stream)) => Ok(TokioIo::new(stream)),
                Ok(Err(error)) => {
                    let text = format!("connecting to {}: {error}", path.display());
                    Err(std::io::Error::new(error.kind(), text))
                }
                Err(_) => Err(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("connecting to {} took over {limit:?}", path.display()),
                )),
            }
        }
    });
    // The address only fills the :authority header; the kubelet sends "localhost" there as well.
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
}
