//! What was asked and answered, for evidence in reports.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tonic::Code;

/// Bytes of a request or answer that a record keeps.
const TEXT_LIMIT: usize = 4096;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Name of the rpc.
    pub rpc: &'static str,
    /// The request as text, cut at 4 KiB, credentials hidden.
    pub request: String,
    /// The answer or the error message, cut at 4 KiB.
    pub response: String,
    /// Name of the status code.
    pub code: String,
    /// Nanoseconds since 1970 when the call began.
    pub started: u128,
    /// How long it took, in nanoseconds.
    pub nanoseconds: u128,
}

/// The newest records of a client, shared by its clones.
#[derive(Clone, Debug)]
pub struct Records {
    inner: Arc<Mutex<VecDeque<Record>>>,
    limit: usize,
}

impl Records {
    pub(crate) fn new(limit: usize) -> Self {
        Self { inner: Arc::default(), limit }
    }

    /// Whether any are kept: if not, nobody needs their texts.
    pub(crate) fn wanted(&self) -> bool {
        self.limit > 0
    }

    pub(crate) fn add(
        &self,
        rpc: &'static str,
        request: String,
        response: String,
        code: Code,
        started: SystemTime,
        took: Duration,
    ) {
        if !self.wanted() {
            return;
        }
        let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let code = format!("{code:?}");
        let record = Record { rpc, request, response, code, started, nanoseconds: took.as_nanos() };
        let mut records = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() >= self.limit {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// The records, oldest first.
    pub fn all(&self) -> Vec<Record> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Forgets them.
    pub fn clear(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Debug text of a message, cut to the limit at a character boundary.
pub(crate) fn text_of<T: Debug>(message: &T) -> String {
    struct Cut(String);
    impl std::fmt::Write for Cut {
        fn write_str(&mut self, s: &str) -> std::fmt::Result {
            self.0.push_str(s);
            if self.0.len() > TEXT_LIMIT { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut cut = Cut(String::new());
    // An error here means that the limit was reached: a huge message is not formatted whole.
    let _ = std::fmt::write(&mut cut, format_args!("{message:?}"));
    let mut text = cut.0;
    if text.len() > TEXT_LIMIT {
        let mut end = TEXT_LIMIT;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_credentials_hidden() {
        assert!(text_of(&"é".repeat(9000)).len() <= TEXT_LIMIT + 4);
        let auth =
            crate::v1::AuthConfig { password: "hunter2".into(), username: "u".into(), ..Default::default() };
        let text = text_of(&crate::v1::PullImageRequest { auth: Some(auth), ..Default::default() });
        assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
    }

    #[test]
    fn only_the_newest_records_stay() {
        let records = Records::new(3);
        for n in 0..5 {
            let now = SystemTime::now();
            records.add("Version", n.to_string(), String::new(), Code::Ok, now, Duration::ZERO);
        }
        let kept: Vec<_> = records.all().into_iter().map(|r| r.request).collect();
        assert_eq!(kept, ["2", "3", "4"]);
    }
}
