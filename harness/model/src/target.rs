//! What the user points the harness at: `kind:locator[?key=value&...]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a target is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// An OCI runtime executable.
    Oci,
    /// A CRI endpoint.
    Cri,
    /// A bundled reference implementation: locator `oci` or `cri`.
    Ref,
}

/// A parsed target string.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetSpec {
    /// How it is driven.
    pub kind: TargetKind,
    /// Path, name on `PATH`, endpoint URL, or the reference's name.
    pub locator: String,
    /// Parameters in the order given; keys may repeat.
    pub params: Vec<(String, String)>,
}

/// The text is not a target.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a target: {why}")]
pub struct TargetError {
    text: String,
    why: String,
}

/// Parameters that each kind understands.
const OCI_PARAMS: &[&str] = &["arg", "cgroups", "env", "name", "spec"];
const CRI_PARAMS: &[&str] = &["handler", "image", "name"];
const REF_CRI_PARAMS: &[&str] = &["arg", "cgroups", "handler", "name", "network", "runtime"];

impl TargetSpec {
    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.params.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The last value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.params.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether an OCI runtime is driven, be it the reference or another.
    pub fn is_oci(&self) -> bool {
        self.kind == TargetKind::Oci || (self.kind == TargetKind::Ref && self.locator == "oci")
    }

    /// Whether a CRI endpoint is driven, be it the reference or another.
    pub fn is_cri(&self) -> bool {
        !self.is_oci()
    }

    /// The short name that reports use for the column: the `name` parameter or else the locator's last part.
    pub fn label(&self) -> String {
        if let Some(name) = self.get("name") {
            return name.to_owned();
        }
        match self.kind {
            TargetKind::Ref => {
                let last = |text: &str| text.rsplit('/').next().unwrap_or(text).to_owned();
                let inner = self.get("handler").or(self.get("runtime")).map(last);
                inner.map_or_else(|| format!("ref-{}", self.locator), |i| format!("ref-{}-{i}", self.locator))
            }
            TargetKind::Oci => self.locator.rsplit('/').next().unwrap_or(&self.locator).to_owned(),
            TargetKind::Cri => {
                let socket = self.locator.rsplit('/').next().unwrap_or("cri").trim_end_matches(".sock");
                self.get("handler").map_or_else(|| socket.to_owned(), |h| format!("{socket}-{h}"))
            }
        }
    }

    fn check(&self, text: &str) -> Result<(), TargetError> {
        let fail = |why: String| Err(TargetError { text: text.to_owned(), why });
        if self.locator.is_empty() {
            return fail("nothing stands after the kind".into());
        }
        if self.kind == TargetKind::Ref && !matches!(self.locator.as_str(), "oci" | "cri") {
            return fail("the bundled references are `ref:oci` and `ref:cri`".into());
        }
        if self.kind == TargetKind::Cri && !self.locator.starts_with("unix://") {
            return fail("a CRI endpoint is written unix:///path/to/socket".into());
        }
        let known = match (self.is_oci(), self.kind) {
            (true, _) => OCI_PARAMS,
            (false, TargetKind::Ref) => REF_CRI_PARAMS,
            (false, _) => CRI_PARAMS,
        };
        for (key, value) in &self.params {
            if !known.contains(&key.as_str()) {
                return fail(format!("unknown parameter `{key}` (known: {})", known.join(", ")));
            }
            if key == "image" && !value.starts_with("unix://") {
                return fail("image takes the address of a socket: unix:///path/to/socket".into());
            }
            if key == "network" && !matches!(value.as_str(), "builtin" | "cni") {
                return fail("network takes builtin or cni".into());
            }
            if key == "cgroups" && self.is_cri() && value == "v2" {
                return fail("cgroups takes host or legacy here".into());
            }
            if key == "cgroups" && !matches!(value.as_str(), "host" | "legacy" | "v2") {
                return fail("cgroups takes host, legacy or v2".into());
            }
            if key == "spec" && value.parse::<crate::SpecVersion>().is_err() {
                return fail(format!("spec takes a version such as 1.3.0, not `{value}`"));
            }
        }
        Ok(())
    }
}

impl FromStr for TargetSpec {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |why: &str| TargetError { text: text.to_owned(), why: why.to_owned() };
        let (head, query) = text.split_once('?').unwrap_or((text, ""));
        let (kind, locator) = match head.split_once(':') {
            Some(("oci", rest)) => (TargetKind::Oci, rest),
            Some(("cri", rest)) => (TargetKind::Cri, rest),
            Some(("ref", rest)) => (TargetKind::Ref, rest),
            Some((kind, _)) if !kind.contains('/') => {
                return Err(fail(&format!("unknown kind `{kind}` (known: oci, cri, ref)")));
            }
            _ => (TargetKind::Oci, head),
        };
        let params = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) =
                    pair.split_once('=').ok_or_else(|| fail("a parameter is written key=value"))?;
                Ok((key.to_owned(), value.to_owned()))
            })
            .collect::<Result<_, TargetError>>()?;
        let spec = Self { kind, locator: locator.to_owned(), params };
        spec.check(text)?;
        Ok(spec)
    }
}

impl fmt::Display for TargetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            TargetKind::Oci => "oci",
            TargetKind::Cri => "cri",
            TargetKind::Ref => "ref",
        };
        write!(f, "{kind}:{}", self.locator)?;
        for (i, (key, value)) in self.params.iter().enumerate() {
            write!(f, "{}{key}={value}", if i == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{TargetKind, TargetSpec};

    #[test]
    fn round_trips() {
        for text in [
            "oci:/usr/sbin/runc",
            "oci:crun?cgroups=legacy",
            "oci:runsc?arg=--network=none&arg=--platform=systrap",
            "cri:unix:///run/containerd/containerd.sock?handler=runsc",
            "ref:oci",
            "ref:cri?runtime=/usr/sbin/runc&arg=--debug",
        ] {
            assert_eq!(text.parse::<TargetSpec>().unwrap().to_string(), text);
        }
        assert_eq!("runc".parse::<TargetSpec>().unwrap().kind, TargetKind::Oci);
        let label = |text: &str| text.parse::<TargetSpec>().unwrap().label();
        assert_eq!(label("cri:unix:///run/x.sock?handler=crun"), "x-crun");
        assert_eq!(label("ref:cri"), "ref-cri");
        assert_eq!(label("ref:cri?runtime=/usr/sbin/runc"), "ref-cri-runc");
    }

    #[test]
    fn refuses_nonsense() {
        for bad in [
            "",
            "docker:x",
            "oci:",
            "ref:podman",
            "cri:/x",
            "oci:x?foo=1",
            "oci:x?cgroups=v3",
            "oci:x?arg",
            "cri:unix:///x?image=tcp://y",
            "cri:unix:///x?runtime=/y",
            "ref:cri?cgroups=v2",
            "ref:cri?network=none",
        ] {
            assert!(bad.parse::<TargetSpec>().is_err(), "{bad}");
        }
    }
}
