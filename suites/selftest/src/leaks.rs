//! One case for each kind of thing that can be left behind.

use nix::mount::MsFlags;
use plimsoll_kit::host;
use plimsoll_kit::prelude::*;
use std::fs;
use std::process::{Command, Stdio};

/// The file's table of contents.
pub static CASES: &[Case] = &[
    leaves_a_process,
    leaves_a_mount,
    leaves_a_cgroup,
    leaves_state,
    warns_and_leaves_a_mount,
    fails_and_leaves_a_mount,
];

/// Seconds that the forgotten process would live; the number is looked for in its command line.
pub const FORGOTTEN_S: &str = "86399";

/// A process without a parent is found, blamed and killed.
#[case(covers = ["self.must"])]
async fn leaves_a_process(_cx: &mut Cx) -> Verdict {
    let script = format!("sleep {FORGOTTEN_S} & exit 0");
    let status = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    check!(status.success(), "the shell ends well", "{status}");
    Ok(())
}

fn mount(cx: &Cx) -> Verdict {
    let at = cx.dir().join("forgotten");
    fs::create_dir(&at)?;
    nix::mount::mount(Some("none"), &at, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
    Ok(())
}

/// A mount is found and blamed.
#[case(covers = ["self.must"])]
async fn leaves_a_mount(cx: &mut Cx) -> Verdict {
    mount(cx)
}

/// A cgroup is found, blamed and removed.
#[case(covers = ["self.must"])]
async fn leaves_a_cgroup(cx: &mut Cx) -> Verdict {
    let own = host::hierarchies().into_iter().find_map(|h| {
        let own = h.mount.join(cx.cgroup().trim_start_matches('/'));
        own.is_dir().then_some(own)
    });
    let own = own.ok_or_else(|| Stop::setup("the attempt has no cgroup"))?;
    fs::create_dir(own.join(cx.new_id()))?;
    Ok(())
}

/// A file of the runtime's state is found and blamed.
#[case(covers = ["self.must"])]
async fn leaves_state(cx: &mut Cx) -> Verdict {
    fs::create_dir_all(cx.runtime().root())?;
    fs::write(cx.runtime().root().join(format!("{}.lock", cx.new_id())), "")?;
    Ok(())
}

/// Something left behind outweighs a recommendation.
#[case(covers = ["self.should"])]
async fn warns_and_leaves_a_mount(cx: &mut Cx) -> Verdict {
    mount(cx)?;
    Err(Stop::violation("the recommended", "the other"))
}

/// Something left behind does not hide what the case itself found.
#[case(covers = ["self.must"])]
async fn fails_and_leaves_a_mount(cx: &mut Cx) -> Verdict {
    mount(cx)?;
    Err(Stop::violation("the first", "the first violation"))
}
