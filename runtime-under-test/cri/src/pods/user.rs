//! Users and groups of containers, from the image's `/etc/passwd` and `/etc/group`, which are hostile input.

use std::io::Read as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use crate::api::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};
use crate::error::{Context as _, Error, Result};

/// Largest passwd or group file read.
const FILE_LIMIT: u64 = 10 << 20;

/// Who the first process is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups; the primary one is among them.
    pub groups: Vec<u32>,
    /// Home directory, for `HOME`.
    pub home: Option<String>,
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Finds the user for a container: the request wins over the image's `USER`
/// (requirements `security.user.*` and `security.groups.*`).
pub fn find(root: &Path, image_user: &str, context: &LinuxContainerSecurityContext) -> Result<User> {
    let policy = SupplementalGroupsPolicy::try_from(context.supplemental_groups_policy).map_err(|_| {
        Error::invalid(format!(
            "supplemental_groups_policy {} does not exist",
            context.supplemental_groups_policy
        ))
    })?;
    let by_id = context.run_as_user.as_ref().map(|v| v.value);
    if by_id.is_some() && !context.run_as_username.is_empty() {
        return Err(Error::invalid("run_as_user and run_as_username exclude each other"));
    }
    if context.run_as_group.is_some() && by_id.is_none() && context.run_as_username.is_empty() {
        return Err(Error::invalid("run_as_group needs run_as_user or run_as_username"));
    }
    let (image_name, image_group) = image_user.split_once(':').unwrap_or((image_user, ""));
    let (wanted, group) = match (by_id, context.run_as_username.as_str()) {
        (Some(uid), _) => (uid.to_string(), String::new()),
        (None, "") => (image_name.to_owned(), image_group.to_owned()),
        (None, name) => (name.to_owned(), String::new()),
    };
    let accounts = accounts(root)?;
    let all_groups = groups(root)?;
    let mut user = lookup(&wanted, &accounts)?;
    let account = accounts.iter().find(|a| a.uid == user.uid);
    if !group.is_empty() {
        user.gid = match group.parse::<i64>() {
            Ok(gid) => id("group", gid)?,
            Err(_) => all_groups
                .iter()
                .find(|g| g.name == group)
                .map(|g| g.gid)
                .ok_or_else(|| Error::invalid(format!("the image has no group {group:?}")))?,
        };
    }
    if let Some(gid) = &context.run_as_group {
        user.gid = id("run_as_group", gid.value)?;
    }
    user.groups.push(user.gid);
    if policy == SupplementalGroupsPolicy::Merge
        && let Some(account) = account
    {
        user.groups.extend(all_groups.iter().filter(|g| g.members.contains(&account.name)).map(|g| g.gid));
    }
    for gid in &context.supplemental_groups {
        user.groups.push(id("supplemental group", *gid)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    user.groups.retain(|gid| seen.insert(*gid));
    user.home =
        account.map(|a| a.home.clone()).filter(|home| home.starts_with('/') && !home.contains(['\n', '\0']));
    Ok(user)
}

fn lookup(wanted: &str, accounts: &[Account]) -> Result<User> {
    if wanted.is_empty() {
        return Ok(User::default());
    }
    match wanted.parse::<i64>() {
        Ok(uid) => {
            let uid = id("user", uid)?;
            // Its primary group from passwd; an unknown uid has group 0.
            let gid = accounts.iter().find(|a| a.uid == uid).map_or(0, |a| a.gid);
            Ok(User { uid, gid, ..User::default() })
        }
        Err(_) => accounts
            .iter()
            .find(|a| a.name == wanted)
            .map(|a| User { uid: a.uid, gid: a.gid, ..User::default() })
            .ok_or_else(|| Error::invalid(format!("the image has no user {wanted:?}"))),
    }
}

/// Ids are 0..=2^32-2; the last number means "none" to the kernel.
pub fn id(what: &str, value: i64) -> Result<u32> {
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Error::invalid(format!("{what} {value} is out of range")))
}

fn accounts(root: &Path) -> Result<Vec<Account>> {
    let text = read_in_root(root, "etc/passwd")?;
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        Some(Account {
            name: fields.first()?.to_string(),
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5).unwrap_or(&"").to_string(),
        })
    };
    Ok(text.lines().filter_map(parse).collect())
}

fn groups(root: &Path) -> Result<Vec<Group>> {
    let text = read_in_root(root, "etc/group")?;
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let members = fields
            .get(3)
            .unwrap_or(&"")
            .split(',')
            .filter(|m| !m.is_empty())
            .map(|m| m.trim().to_owned())
            .collect();
        Some(Group { name: fields.first()?.to_string(), gid: fields.get(2)?.parse().ok()?, members })
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// Reads a regular file inside the container's root; links cannot lead out (`security.user.passwd-symlink-escape`).
fn read_in_root(root: &Path, path: &str) -> Result<String> {
    let base = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_path("opening", root)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(fd) = rustix::fs::openat2(&base, path, flags, Mode::empty(), resolve) else {
        return Ok(String::new());
    };
    let stat = rustix::fs::fstat(&fd).doing("reading a file of the image")?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size as u64 > FILE_LIMIT {
        return Err(Error::invalid(format!(
            "/{path} of the image is not a regular file of at most 10 MiB; refused"
        )));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd).take(FILE_LIMIT).read_to_end(&mut bytes).doing("reading a file of the image")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Int64Value;

    fn root() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:1000:50::/home/web:\nbad line\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("etc/group"), "adm:x:50:\nextra:x:60:web,other\n").unwrap();
        dir
    }

    #[test]
    fn image_and_request_users() {
        let dir = root();
        let none = LinuxContainerSecurityContext::default();
        let web = find(dir.path(), "web", &none).unwrap();
        assert_eq!(
            (web.uid, web.gid, web.groups.clone(), web.home.as_deref()),
            (1000, 50, vec![50, 60], Some("/home/web"))
        );
        assert_eq!(find(dir.path(), "7:adm", &none).unwrap().gid, 50);
        assert_eq!(find(dir.path(), "", &none).unwrap().groups, vec![0]);
        let strict = LinuxContainerSecurityContext {
            run_as_user: Some(Int64Value { value: 1000 }),
            supplemental_groups: vec![7],
            supplemental_groups_policy: 1,
            ..Default::default()
        };
        assert_eq!(find(dir.path(), "", &strict).unwrap().groups, vec![50, 7]);
    }

    #[test]
    fn contradictions_and_ranges_are_refused() {
        let dir = root();
        let ctx = |f: &dyn Fn(&mut LinuxContainerSecurityContext)| {
            let mut c = LinuxContainerSecurityContext::default();
            f(&mut c);
            find(dir.path(), "", &c).is_err()
        };
        assert!(ctx(&|c| c.run_as_group = Some(Int64Value { value: 5 })));
        assert!(ctx(&|c| c.run_as_username = "nobody-here".into()));
        assert!(ctx(&|c| c.run_as_user = Some(Int64Value { value: 4_294_967_295 })));
        assert!(ctx(&|c| c.run_as_user = Some(Int64Value { value: -1 })));
        assert!(ctx(&|c| c.supplemental_groups_policy = 9));
        assert!(find(dir.path(), "99999999999", &LinuxContainerSecurityContext::default()).is_err());
    }

    #[test]
    fn passwd_link_stays_inside() {
        let dir = root();
        std::fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/passwd")).unwrap();
        let context = LinuxContainerSecurityContext { run_as_username: "root".into(), ..Default::default() };
        assert!(find(dir.path(), "", &context).is_err());
    }
}
