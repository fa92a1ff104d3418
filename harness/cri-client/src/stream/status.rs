//! What the error channel says at the end.

use serde::Deserialize;

/// How a streamed command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Exit status 0.
    Success,
    /// Another exit status.
    ExitCode(i32),
    /// The server could not run it or lost it.
    Failure {
        /// Machine-readable reason, such as `InternalError`.
        reason: String,
        /// Text for people.
        message: String,
    },
    /// Text of the older protocols v1 to v3, or something that is no status.
    Text(String),
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
struct Status {
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    details: Details,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Finish {
    /// Reads the content of the error channel; `None` when there is none.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let Ok(status) = serde_json::from_slice::<Status>(text) else {
            return Some(Self::Text(String::from_utf8_lossy(text).into_owned()));
        };
        if status.status == "Success" {
            return Some(Self::Success);
        }
        if status.reason == "NonZeroExitCode" {
            let cause = status.details.causes.iter().find(|c| c.reason == "ExitCode");
            if let Some(code) = cause.and_then(|c| c.message.parse().ok()) {
                return Some(Self::ExitCode(code));
            }
        }
        Some(Self::Failure { reason: status.reason, message: status.message })
    }

    /// The exit status, if the command ran to its end.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Success => Some(0),
            Self::ExitCode(code) => Some(*code),
            Self::Failure { .. } | Self::Text(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        assert_eq!(Finish::parse(b""), None);
        assert_eq!(Finish::parse(br#"{"status":"Success"}"#), Some(Finish::Success));
        let seven = br#"{"status":"Failure","message":"m","reason":"NonZeroExitCode",
            "details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert_eq!(Finish::parse(seven).unwrap().exit_code(), Some(7));
        let internal = br#"{"status":"Failure","message":"gone","reason":"InternalError","code":500}"#;
        let finish = Finish::parse(internal).unwrap();
        assert!(matches!(&finish, Finish::Failure { reason, .. } if reason == "InternalError"));
        assert_eq!(finish.exit_code(), None);
        assert_eq!(Finish::parse(b"plain"), Some(Finish::Text("plain".into())));
        let no_code = br#"{"status":"Failure","reason":"NonZeroExitCode"}"#;
        assert!(matches!(Finish::parse(no_code), Some(Finish::Failure { .. })));
    }
}
