//! Which cgroup hierarchies this mount namespace has, and where.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Error;

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// `false`: one of cgroup v1; `true`: the unified one.
    pub unified: bool,
    /// v1: what it was mounted with, such as `cpu`, `cpuacct` or `name=systemd`. Unified: the controllers it offers.
    pub controllers: Vec<String>,
    /// The mount point.
    pub mount: PathBuf,
    /// The runtime's own cgroup, as a path below the mount point with a leading slash.
    pub own: String,
}

/// Reads the calling process's view.
///
/// # Errors
/// [`Error::Io`] when `/proc` is not readable. A mount namespace without cgroups is an empty list.
pub(super) fn detect() -> Result<Vec<Hierarchy>, Error> {
    let read = |path: &str| {
        crate::files::read_kernel(path).map_err(|source| Error::Io {
            what: "read".into(),
            path: path.into(),
            source,
        })
    };
    let mounts = read("/proc/self/mountinfo")?;
    let mut found = parse(&mounts, &read("/proc/self/cgroup")?, |mount, device| {
        // A mount that another one hides is listed too: only what is seen at the path counts.
        fs::metadata(mount).is_ok_and(|m| m.dev() == device)
    });
    for hierarchy in found.iter_mut().filter(|h| h.unified) {
        let list = crate::files::read_kernel(hierarchy.mount.join("cgroup.controllers")).unwrap_or_default();
        hierarchy.controllers = list.split_whitespace().map(String::from).collect();
    }
    Ok(found)
}

/// The pure part of [`detect`]. `visible` says whether a mount point shows the device of that mount.
fn parse(mountinfo: &str, own: &str, visible: impl Fn(&Path, u64) -> bool) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((hierarchy, device)) = parse_mount(line, own) else { continue };
        let known = found.iter().position(|h| {
            h.unified == hierarchy.unified && (h.unified || h.controllers == hierarchy.controllers)
        });
        // Of several mounts of one hierarchy the conventional place is the one that other programs look at.
        let better = |old: &Hierarchy| !old.mount.starts_with("/sys/fs/cgroup");
        if !visible(&hierarchy.mount, device) {
            continue;
        }
        match known {
            None => found.push(hierarchy),
            Some(i) if better(&found[i]) => found[i] = hierarchy,
            Some(_) => {}
        }
    }
    found
}

fn parse_mount(line: &str, own: &str) -> Option<(Hierarchy, u64)> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let unified = match right.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = right.nth(1)?;
    let left: Vec<&str> = left.split(' ').collect();
    let (major, minor) = left.get(2)?.split_once(':')?;
    let device = libc::makedev(major.parse().ok()?, minor.parse().ok()?);
    let root = unescape(left.get(3)?);
    let mount = PathBuf::from(unescape(left.get(4)?));
    let (controllers, path) = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (id, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let mounted = if unified {
            id == "0" && names.is_empty()
        } else {
            !names.is_empty() && names.split(',').all(|n| options.split(',').any(|o| o == n))
        };
        let names = names.split(',').filter(|n| !n.is_empty()).map(String::from).collect();
        mounted.then(|| (names, path.to_owned()))
    })?;
    // The mount may show a part of the hierarchy only; a process outside of that part is taken to be at its top.
    let own = if root == "/" { Some(path.as_str()) } else { path.strip_prefix(root.as_str()) };
    let own = match own {
        Some(inside) if inside.starts_with('/') => inside.to_owned(),
        _ => "/".to_owned(),
    };
    Some((Hierarchy { unified, controllers, mount, own }, device))
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            plain.push(char::from(code));
            rest = &rest[at + 4..];
        } else {
            plain.push('\\');
            rest = &rest[at + 1..];
        }
    }
    plain.push_str(rest);
    plain
}

/// Cleans a cgroup path by its text alone: no `.`, `..` or doubled slash is left, and it cannot climb above the top.
///
/// # Errors
/// What no cgroup can be called, with the reason.
pub(super) fn clean(path: &str) -> Result<String, String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ if part.len() > 255 => return Err("has a part of more than 255 bytes".into()),
            _ if part.contains(['\0', '\n']) => return Err("has a control character".into()),
            _ => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err("names the root of the hierarchy, which belongs to the host".into());
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A write by one system call, without creating or truncating.
pub(super) fn write_file(path: &Path, text: &str) -> io::Result<()> {
    use io::Write as _;
    let mut file = fs::File::options().write(true).open(path)?;
    match file.write(text.as_bytes())? {
        n if n == text.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
30 31 0:29 / /mnt/elsewhere rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /pod /sys/fs/cgroup/memory\\040x rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
42 31 0:39 / /hidden rw - cgroup cgroup rw,pids
";
    const OWN: &str = "4:memory:/pod/one\n3:name=systemd:/a\n2:cpu,cpuacct:/b\n1:pids:/\n0::/u:v\n";

    #[test]
    fn hierarchies_of_a_hybrid_host() {
        let found = parse(MOUNTS, OWN, |mount, _| mount != Path::new("/hidden"));
        let short: Vec<_> = found
            .iter()
            .map(|h| (h.mount.to_str().unwrap(), h.controllers.join(","), h.own.as_str()))
            .collect();
        assert_eq!(
            short,
            [
                ("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct".to_owned(), "/b"),
                ("/sys/fs/cgroup/memory x", "memory".to_owned(), "/one"),
                ("/sys/fs/cgroup/systemd", "name=systemd".to_owned(), "/a"),
                ("/sys/fs/cgroup/unified", String::new(), "/u:v"),
            ]
        );
    }

    #[test]
    fn paths_stay_below_the_mount() {
        for (given, cleaned) in [
            ("/a/b", "/a/b"),
            ("a//b/", "/a/b"),
            ("../../x", "/x"),
            ("/../x/./y/../z", "/x/z"),
            ("s:p:n", "/s:p:n"),
        ] {
            assert_eq!(clean(given).as_deref(), Ok(cleaned), "{given}");
        }
        for bad in ["/", "..", "/a/..", "", "a\nb", &"x".repeat(256)] {
            assert!(clean(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn this_machine_is_readable() {
        for hierarchy in detect().unwrap() {
            assert!(hierarchy.mount.join("cgroup.procs").exists(), "{hierarchy:?}");
            assert!(hierarchy.own.starts_with('/'));
        }
    }
}
