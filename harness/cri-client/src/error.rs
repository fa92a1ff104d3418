//! Why a call did not give an answer.

use std::fmt;
use std::time::Duration;

use tonic::Code;

/// What sort of failure it was, whatever words the server used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The server lacks the rpc: `Unimplemented`, or (a deviation) another code that says
    /// "not implemented". [`CallError::is_deviant_unimplemented`] tells them apart.
    Unimplemented,
    /// No answer in time.
    Deadline,
    /// No connection, or it broke, or the peer speaks something else.
    Transport,
    /// A message over the limit.
    TooLarge,
    /// An answer that is no message of the expected type.
    Garbled,
    /// The server answered with this code.
    Status(Code),
}

/// A call without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// Name of the rpc.
    pub rpc: &'static str,
    /// Status code, as sent or as made up by the transport.
    pub code: Code,
    /// Status message, whole.
    pub message: String,
    /// What sort of failure.
    pub kind: Kind,
    /// Time from the call to the failure.
    pub elapsed: Duration,
}

impl std::error::Error for CallError {}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.elapsed.as_millis();
        let message = if self.message.is_empty() { "no message" } else { &self.message };
        match self.kind {
            Kind::Deadline => write!(f, "{} got no answer within {ms} ms ({message})", self.rpc),
            Kind::Transport => write!(
                f,
                "{} could not be sent or answered: {message}; is the server running and is this its CRI socket?",
                self.rpc
            ),
            Kind::TooLarge => write!(f, "{}: message over the size limit: {message}", self.rpc),
            Kind::Garbled => write!(f, "{} got an answer that is not CRI v1: {message}", self.rpc),
            Kind::Unimplemented | Kind::Status(_) => {
                write!(f, "{} failed with {:?}: {message}", self.rpc, self.code)
            }
        }
    }
}

impl CallError {
    /// Judges a status. `from_server` is false when the transport made it up.
    pub(crate) fn new(
        rpc: &'static str,
        status: &tonic::Status,
        elapsed: Duration,
        deadline: Duration,
    ) -> Self {
        let message = describe(status);
        let kind = match kind(status, &message, elapsed, deadline) {
            // An answer that is taken as bytes is never garbled: here it is the server that cannot read the request.
            Kind::Garbled if rpc == crate::raw::NAME => Kind::Status(status.code()),
            kind => kind,
        };
        Self { rpc, code: status.code(), message, kind, elapsed }
    }

    pub(crate) fn deadline(rpc: &'static str, elapsed: Duration) -> Self {
        let message = "the deadline of the client passed".into();
        Self { rpc, code: Code::DeadlineExceeded, message, kind: Kind::Deadline, elapsed }
    }

    /// Whether the server lacks the rpc.
    pub fn is_unimplemented(&self) -> bool {
        self.kind == Kind::Unimplemented
    }

    /// Whether it lacks the rpc and says so with the wrong code.
    pub fn is_deviant_unimplemented(&self) -> bool {
        self.is_unimplemented() && self.code != Code::Unimplemented
    }

    /// Whether the server itself answered, as opposed to no answer or a broken connection.
    pub fn is_answer(&self) -> bool {
        matches!(self.kind, Kind::Status(_) | Kind::Unimplemented)
    }
}

/// The message with its causes, which tonic keeps apart.
fn describe(status: &tonic::Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

fn kind(status: &tonic::Status, message: &str, elapsed: Duration, deadline: Duration) -> Kind {
    let lower = message.to_ascii_lowercase();
    let made_up = std::error::Error::source(status).is_some();
    match status.code() {
        Code::Unimplemented => Kind::Unimplemented,
        Code::Unknown | Code::Internal if lower.contains("not implemented") => Kind::Unimplemented,
        Code::OutOfRange if lower.contains("message length too large") => Kind::TooLarge,
        Code::ResourceExhausted if lower.contains("larger than max") => Kind::TooLarge,
        Code::Cancelled | Code::DeadlineExceeded
            if lower.contains("timeout expired") || elapsed >= deadline =>
        {
            Kind::Deadline
        }
        Code::Internal if lower.contains("failed to decode") => Kind::Garbled,
        Code::Unavailable if made_up || lower.contains("transport error") => Kind::Transport,
        Code::Unknown | Code::Internal | Code::Cancelled if made_up => Kind::Transport,
        // tonic's words for an answer that is not gRPC, such as an HTTP/1 page.
        Code::Unknown | Code::Internal | Code::Unavailable
            if lower.contains("h2 protocol error") || lower.contains("grpc-status header missing") =>
        {
            Kind::Transport
        }
        code => Kind::Status(code),
    }
}
