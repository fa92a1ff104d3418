//! Failures as facts: an errno and what was tried.
use crate::names;
use alloc::string::{String, ToString};
use core::fmt::Display;
use serde_json::Value;

/// What a step gives back: the `ok` object, or the failure that is reported in its place.
pub type Answer = Result<Value, Fail>;

/// A failed action: the errno that the kernel gave and what was tried.
#[derive(Debug)]
pub struct Fail {
    pub errno: i32,
    pub what: String,
}

impl Fail {
    pub fn new(errno: i32, what: impl Display) -> Self {
        Self { errno, what: what.to_string() }
    }

    /// The script asked for something that cannot be: a wrong type, a missing argument, an unknown name.
    pub fn script(what: impl Display) -> Self {
        Self::new(libc::EINVAL, what)
    }

    /// `EACCES: open /x`
    pub fn message(&self) -> String {
        let mut message = names::errno(self.errno);
        message.push_str(": ");
        message.push_str(&self.what);
        message
    }
}

/// Adds what was tried to a bare errno.
pub trait Context<T> {
    fn what(self, what: impl Display) -> Result<T, Fail>;
}

impl<T> Context<T> for Result<T, i32> {
    fn what(self, what: impl Display) -> Result<T, Fail> {
        self.map_err(|errno| Fail::new(errno, what))
    }
}
