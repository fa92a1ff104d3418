//! Image references: `[registry/]repository[:tag][@digest]`, in full form.

use std::fmt;

use crate::error::{Error, Result};

/// A parsed reference in full form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Host and optional port.
    pub registry: String,
    /// Repository path.
    pub repository: String,
    /// Tag; `latest` when neither tag nor digest was given.
    pub tag: Option<String>,
    /// `sha256:<64 hex>`.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses and completes a reference the way the field does: no registry means `docker.io`,
    /// one-word repositories there live in `library/`, no tag means `latest`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!(
                "image reference {text:?} is malformed: {why}; expected [registry/]name[:tag][@sha256:...]"
            ))
        };
        if text.is_empty() || text.len() > 512 {
            return Err(bad("it is empty or too long"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(check_digest(digest).map_err(|why| bad(&why.message))?)),
            None => (text, None),
        };
        let (path, tag) = match rest.rfind(':') {
            Some(at) if !rest[at..].contains('/') => (&rest[..at], Some(&rest[at + 1..])),
            _ => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(bad("the tag has characters that are not allowed"));
        }
        let (registry, repository) = match path.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first.to_owned(), rest.to_owned())
            }
            _ if path.contains('/') => ("docker.io".to_owned(), path.to_owned()),
            _ => ("docker.io".to_owned(), format!("library/{path}")),
        };
        if !is_host(&registry) {
            return Err(bad("the registry is not a host name"));
        }
        if !repository.split('/').all(is_component) {
            return Err(bad("the repository must be lower-case words separated by /"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self { registry, repository, tag, digest })
    }

    /// `registry/repository`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// `registry/repository:tag`, if it has a tag.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// What to ask the registry for: the digest where given, else the tag.
    pub fn wanted(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Accepts `sha256:` and 64 lower-case hexadecimal digits only.
pub fn check_digest(text: &str) -> Result<String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid(format!(
            "digest {:?} is not sha256:<64 hex digits>",
            text.chars().take(100).collect::<String>()
        )))
    }
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
    let name_ok = if let Some(v6) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        v6.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !name.is_empty()
            && name.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
    };
    port_ok && name_ok
}

fn is_component(part: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !part.is_empty()
        && part.bytes().all(|b| alnum(b) || b"._-".contains(&b))
        && part.bytes().next().is_some_and(alnum)
        && part.bytes().last().is_some_and(alnum)
        && !part.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        Reference::parse(text).unwrap().to_string()
    }

    #[test]
    fn short_names_are_completed() {
        assert_eq!(full("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(full("a/b:1"), "docker.io/a/b:1");
        assert_eq!(full("localhost/x"), "localhost/x:latest");
        assert_eq!(full("127.0.0.1:5000/a/b"), "127.0.0.1:5000/a/b:latest");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(full(&format!("r.io/x@{digest}")), format!("r.io/x@{digest}"));
        assert_eq!(Reference::parse(&format!("r.io/x:t@{digest}")).unwrap().wanted(), digest);
    }

    #[test]
    fn malformed_references_are_refused() {
        for bad in [
            "",
            ":",
            "A/b",
            "a b",
            "r.io/",
            "r.io/x:",
            "r.io/x:-t",
            "r.io/x@sha256:12",
            "r.io:99999/x",
            "a/../b",
            "-h.io/x",
            "r.io//x",
            "x@md5:00",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
    }
}
