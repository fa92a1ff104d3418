//! One error type: a gRPC code and a sentence that says what failed and what to do.

use std::fmt::{self, Write as _};
use std::path::Path;

use tonic::{Code, Status};

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure as the client will see it.
#[derive(Debug, Clone)]
pub struct Error {
    /// gRPC code: `NotFound` for unknown ids, `InvalidArgument` for malformed requests, and so on.
    pub code: Code,
    /// What failed, why, and what to do next. Never holds credentials.
    pub message: String,
}

impl Error {
    /// An error with this code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
    /// The thing asked for does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }
    /// The request is malformed or contradictory.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }
    /// The object is in the wrong state for the request.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }
    /// The host or the OCI runtime failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }
    /// This host or handler lacks what is asked for.
    pub fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(Code::Unimplemented, message)
    }
    /// Content from outside is not what its digest or its size says.
    pub fn data_loss(message: impl Into<String>) -> Self {
        Self::new(Code::DataLoss, message)
    }
    /// The client's or the server's time limit passed.
    pub fn deadline(message: impl Into<String>) -> Self {
        Self::new(Code::DeadlineExceeded, message)
    }
    /// The same error with words in front that say what was being done.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Bytes of a message that a client gets: it travels in a header, for which clients keep little room.
const MESSAGE_LIMIT: usize = 2 << 10;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut message = error.message;
        if message.len() > MESSAGE_LIMIT {
            let all = message.len();
            let whole = (0..=MESSAGE_LIMIT).rev().find(|end| message.is_char_boundary(*end));
            message.truncate(whole.unwrap_or(0));
            let _ = write!(message, "... ({all} bytes in all)");
        }
        Status::new(error.code, message)
    }
}

/// Adds words to foreign errors.
pub trait Context<T> {
    /// Says what was being done.
    fn doing(self, what: impl fmt::Display) -> Result<T>;
    /// Says what was being done, and with which file.
    fn with_path(self, what: &str, path: &Path) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::internal(format!("{what}: {error}")))
    }
    fn with_path(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|error| Error::internal(format!("{what} {}: {error}", path.display())))
    }
}
