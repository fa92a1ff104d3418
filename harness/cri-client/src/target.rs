//! Where an endpoint is: `cri:unix:///path[?handler=NAME&image=unix:///other]`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A CRI endpoint and how to use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Socket of the runtime service.
    pub runtime: PathBuf,
    /// Socket of the image service when it is another one.
    pub image: Option<PathBuf>,
    /// Runtime handler for `RunPodSandbox`; empty is the default one.
    pub handler: String,
}

/// A target text that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Wrong scheme.
    #[error("{0:?} is no CRI target: write cri:unix:///path/to/socket")]
    Scheme(String),
    /// The path is not absolute.
    #[error("{0:?}: the socket's path must be absolute, such as unix:///run/containerd/containerd.sock")]
    Relative(String),
    /// Unknown parameter.
    #[error("unknown parameter {0:?}: only handler= and image= are known")]
    Parameter(String),
    /// The path does not fit into a socket address.
    #[error("{0}: a socket's path has at most 107 bytes; use a shorter directory")]
    TooLong(String),
}

impl Target {
    /// An endpoint with both services on one socket and the default handler.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { runtime: socket.into(), image: None, handler: String::new() }
    }

    /// The same endpoint with this handler.
    #[must_use]
    pub fn with_handler(mut self, handler: &str) -> Self {
        self.handler = handler.into();
        self
    }
}

fn socket(text: &str) -> Result<PathBuf, TargetError> {
    let path = text.strip_prefix("unix://").ok_or_else(|| TargetError::Scheme(text.into()))?;
    if !path.starts_with('/') {
        return Err(TargetError::Relative(text.into()));
    }
    if path.len() > 107 {
        return Err(TargetError::TooLong(path.into()));
    }
    Ok(path.into())
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let rest = text.strip_prefix("cri:").ok_or_else(|| TargetError::Scheme(text.into()))?;
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut target = Self::new(socket(address)?);
        for parameter in query.split('&').filter(|p| !p.is_empty()) {
            match parameter.split_once('=') {
                Some(("handler", name)) => target.handler = name.into(),
                Some(("image", address)) => target.image = Some(socket(address)?),
                _ => return Err(TargetError::Parameter(parameter.into())),
            }
        }
        Ok(target)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cri:unix://{}", self.runtime.display())?;
        let mut mark = '?';
        if !self.handler.is_empty() {
            write!(f, "{mark}handler={}", self.handler)?;
            mark = '&';
        }
        if let Some(image) = &self.image {
            write!(f, "{mark}image=unix://{}", image.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_a_round_trip() {
        for text in [
            "cri:unix:///run/a.sock",
            "cri:unix:///run/a.sock?handler=runsc",
            "cri:unix:///run/a.sock?handler=runsc&image=unix:///run/b.sock",
            "cri:unix:///run/a.sock?image=unix:///run/b.sock",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for (text, hint) in [
            ("oci:/usr/bin/runc", "cri:unix:///"),
            ("cri:/run/a.sock", "cri:unix:///"),
            ("cri:unix://run/a.sock", "absolute"),
            ("cri:unix:///a?color=red", "handler="),
            ("cri:unix:///a?image=tcp://b", "cri:unix:///"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
        assert!(format!("cri:unix:///{}", "x".repeat(120)).parse::<Target>().is_err());
    }
}
