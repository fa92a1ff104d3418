//! Finding the program and becoming it.

use crate::bail;
use crate::error::{Context, Error, Result};
use crate::sys;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Argument vector and environment, ready for `execve(2)`.
#[derive(Debug, Clone)]
pub struct Program {
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Takes over `process.args` and `process.env`. Of an environment variable given twice the last
    /// value counts.
    pub fn new(args: &[String], env: &[String]) -> Result<Self> {
        let c = |s: &String| {
            CString::new(s.as_bytes()).map_err(|_| Error::new("an argument or variable holds a NUL byte"))
        };
        let mut out: Vec<CString> = Vec::with_capacity(env.len() + 1);
        for (i, entry) in env.iter().enumerate() {
            let name = |e: &String| e.split_once('=').map(|(n, _)| n.to_owned());
            let shadowed = name(entry)
                .is_some_and(|n| env[i + 1..].iter().any(|later| name(later).as_ref() == Some(&n)));
            if !shadowed {
                out.push(c(entry)?);
            }
        }
        Ok(Self { argv: args.iter().map(c).collect::<Result<_>>()?, env: out })
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        self.env.iter().find_map(|e| e.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// Sets or replaces a variable.
    pub fn set_variable(&mut self, name: &str, value: &str) -> Result<()> {
        let entry =
            CString::new(format!("{name}={value}")).map_err(|_| Error::new("a variable holds a NUL byte"))?;
        self.env.retain(|e| !e.to_bytes().strip_prefix(name.as_bytes()).is_some_and(|r| r.starts_with(b"=")));
        self.env.push(entry);
        Ok(())
    }

    /// The environment as text.
    pub fn env(&self) -> &[CString] {
        &self.env
    }

    /// The file to execute: `args[0]` looked up as execvp(3) does, with the `PATH` of the container.
    ///
    /// Runs inside the container with the identity of the process.
    pub fn find(&self) -> Result<CString> {
        let name = OsStr::from_bytes(self.argv[0].to_bytes());
        if name.is_empty() {
            bail!("exec: \"\": executable file not found in $PATH");
        }
        if name.as_bytes().contains(&b'/') {
            executable(Path::new(name)).with_context(|| format!("exec: {:?}", name.display()))?;
            return Ok(self.argv[0].clone());
        }
        let mut denied = None;
        for dir in self
            .variable("PATH")
            .unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .split(|b| *b == b':')
        {
            let dir = if dir.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(dir)) };
            let file: PathBuf = dir.join(name);
            match executable(&file) {
                Ok(()) => {
                    return CString::new(file.as_os_str().as_bytes())
                        .map_err(|_| Error::new("PATH holds a NUL byte"));
                }
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => denied = Some(e),
                Err(_) => {}
            }
        }
        match denied {
            Some(e) => Err(e).with_context(|| format!("exec: {:?}", name.display())),
            None => bail!("exec: {:?}: executable file not found in $PATH", name.display()),
        }
    }

    /// Becomes the program. Returns only the error.
    pub fn exec(&self, file: &CString) -> Error {
        let e = sys::exec(file, &self.argv, &self.env);
        Err::<(), _>(e)
            .with_context(|| format!("exec {}", file.to_string_lossy()))
            .err()
            .unwrap_or_else(|| Error::new("exec"))
    }
}

fn executable(path: &Path) -> std::io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::from_raw_os_error(
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                libc::EISDIR
            } else {
                libc::EACCES
            },
        ));
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(())
}
