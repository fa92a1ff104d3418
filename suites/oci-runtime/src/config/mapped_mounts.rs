//! config.md, mounts: id mappings of a mount, by its own mappings or by those of the container.

use super::mounts::mount_at;
use plimsoll_kit::prelude::*;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// The file's table of contents.
pub static CASES: &[Case] = &[
    mapped_mount_translates_owners,
    own_mapping_differs_from_the_container_s,
    recursive_mapping_reaches_submounts,
    container_s_mapping_is_used_or_refused,
    option_does_not_reach_the_file_system,
    mapping_without_any_mapping_is_error,
    one_sided_mapping_is_error,
];

/// First id on the host of the container's user namespace.
const BASE: u32 = 100_000;
/// What an id without a place in the mapping looks like.
const UNMAPPED: u32 = 65_534;

/// A mount with a file and a mount below it, which holds a file as well; all belong to root.
fn source(cx: &Cx) -> Result<PathBuf, Stop> {
    let top = cx.dir().join("mapped");
    for dir in [top.clone(), top.join("sub")] {
        cx.host_tmpfs(&dir, false)?;
        std::fs::write(dir.join("file"), "")?;
        chown(dir.join("file"), Some(0), Some(0))?;
    }
    Ok(top)
}

fn mapping(first: u32) -> Value {
    json!([{ "containerID": 0, "hostID": first, "size": 1000 }])
}

fn bind(source: &Path, options: &[&str]) -> Value {
    json!({ "destination": "/m", "type": "bind", "source": source, "options": options })
}

fn mapped(source: &Path, options: &[&str], first: u32) -> Value {
    let mut mount = bind(source, options);
    mount["uidMappings"] = mapping(first);
    mount["gidMappings"] = mapping(first);
    mount
}

fn looks() -> Script {
    let stat = |s: Script, p: &str| s.ask_with("stat", json!({ "path": p }));
    stat(stat(probe::script(), "/m/file"), "/m/sub/file").ask("mounts")
}

/// A container in a user namespace whose root owns the root file system.
fn container(cx: &Cx) -> Builder {
    let builder = cx.container(looks()).rootfs(|root| chown(root, Some(BASE), Some(BASE)));
    builder.user_namespace(BASE)
}

/// The owner of the n-th file that was looked at.
fn owner(answers: &Answers, index: usize) -> Result<(Value, Value), Stop> {
    let facts = answers.at(index)?.result.clone();
    let facts = facts.map_err(|r| Stop::violation("the mounted file can be looked at", r.error))?;
    Ok((facts["uid"].clone(), facts["gid"].clone()))
}

fn both(id: u32) -> (Value, Value) {
    (json!(id), json!(id))
}

fn words(mount: &Value, key: &str) -> Vec<String> {
    let list = mount[key].as_array().into_iter().flatten();
    list.filter_map(|o| o.as_str().map(str::to_owned)).collect()
}

/// A violation unless the mount table calls the mount id-mapped. Kernels before 5.19 do not tell.
fn shown_as_mapped(answers: &Answers, at: &str, requirement: &str) -> Verdict {
    let options = words(&mount_at(answers, at)?, "options");
    check!(of requirement; options.iter().any(|o| o == "idmapped"), format!("{at} is an id-mapped mount"), "{options:?}");
    Ok(())
}

const FORMS: &[Variant] = &[
    Variant::new("plain", &[]),
    Variant::new(
        "idmap",
        &["mount-option.idmap.applies-mapping", "mount-option.idmap", "mount-option.idmap.via-mount-setattr"],
    ),
    Variant::new(
        "ridmap",
        &[
            "mount-option.ridmap.applies-mapping",
            "mount-option.ridmap",
            "mount-option.ridmap.via-mount-setattr",
        ],
    ),
];

/// A mount with id mappings of its own shows translated owners and leaves the source's alone.
#[case(
    covers = [
        "mounts.uid-mappings",
        "mounts.gid-mappings",
        "mounts.uid-mappings.via-mount-setattr",
        "mounts.gid-mappings.via-mount-setattr"
    ],
    matrix(option = FORMS)
)]
async fn mapped_mount_translates_owners(cx: &mut Cx) -> Verdict {
    let source = source(cx)?;
    let option = cx.param("option");
    let options: &[&str] = if option == "plain" { &["rbind"] } else { &["rbind", option] };
    // The same mapping as the user namespace's: an owner of 0 on the host is then 0 inside, not an unmapped id.
    let answers = container(cx).mount(mapped(&source, options, BASE)).answers().await?;
    check_eq!(owner(&answers, 0)?, both(0), "the owner seen inside");
    check_eq!(std::fs::metadata(source.join("file"))?.uid(), 0, "the owner on the host");
    let requirement = match option {
        "plain" => "mounts.uid-mappings.via-mount-setattr",
        "idmap" => "mount-option.idmap.via-mount-setattr",
        _ => "mount-option.ridmap.via-mount-setattr",
    };
    shown_as_mapped(&answers, "/m", requirement)
}

const OWN: &[Variant] = &[
    Variant::new("idmap", &["mount-option.idmap.own-mappings-used"]),
    Variant::new("ridmap", &["mount-option.ridmap.own-mappings-used"]),
];

/// Mappings of the mount count where they differ from the container's.
#[case(covers = ["mounts.uid-mappings", "mounts.gid-mappings"], matrix(option = OWN))]
async fn own_mapping_differs_from_the_container_s(cx: &mut Cx) -> Verdict {
    let mount = mapped(&source(cx)?, &["rbind", cx.param("option")], BASE + 5);
    let answers = container(cx).mount(mount).answers().await?;
    check_eq!(owner(&answers, 0)?, both(5), "the owner seen inside");
    Ok(())
}

/// A recursive mapping holds for what is mounted below the source as well.
#[case(covers = ["mount-option.ridmap.applies-mapping"])]
async fn recursive_mapping_reaches_submounts(cx: &mut Cx) -> Verdict {
    let mount = mapped(&source(cx)?, &["rbind", "ridmap"], BASE);
    let answers = container(cx).mount(mount).answers().await?;
    check_eq!(owner(&answers, 1)?, both(0), "the owner seen inside of a file of the mount below");
    Ok(())
}

const FALLBACK: &[Variant] = &[
    Variant::new(
        "idmap",
        &["mount-option.idmap.no-mapping-fallback-errors", "mount-option.idmap.userns-mappings-may-apply"],
    ),
    Variant::new(
        "ridmap",
        &["mount-option.ridmap.no-mapping-fallback-errors", "mount-option.ridmap.userns-mappings-may-apply"],
    ),
];

/// Without mappings of its own a mapped mount gets the container's, or is an error; it is never left unmapped.
#[case(covers = [], matrix(option = FALLBACK))]
async fn container_s_mapping_is_used_or_refused(cx: &mut Cx) -> Verdict {
    let option = cx.param("option").to_owned();
    let mount = bind(&source(cx)?, &["rbind", &option]);
    let (create, container) = container(cx).mount(mount).attempt().await?;
    let key = format!("mount-option.{option}.without-mappings");
    if !create.succeeded() {
        cx.record(&key, "refused");
        create.must_fail()?;
        return container.nothing_left().await;
    }
    cx.record(&key, "the container's mapping");
    container.start().await?.must_succeed()?;
    let answers = container.finished_answers().await?;
    check_ne!(owner(&answers, 0)?, both(UNMAPPED), "the owner seen inside of a file of the host's root");
    check_eq!(owner(&answers, 0)?, both(0), "the owner seen inside");
    Ok(())
}

const INNER: &[Variant] = &[
    Variant::new("idmap", &["mount-option.idmap", "mount-option.idmap.not-passed-to-mount2"]),
    Variant::new("ridmap", &["mount-option.ridmap", "mount-option.ridmap.not-passed-to-mount2"]),
];

/// A file system that knows no such option is mounted with it: the option is the runtime's, not the file system's.
#[case(covers = [], matrix(option = INNER))]
async fn option_does_not_reach_the_file_system(cx: &mut Cx) -> Verdict {
    let option = cx.param("option").to_owned();
    let mut mount =
        json!({ "destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": ["mode=0755", option] });
    mount["uidMappings"] = mapping(BASE);
    mount["gidMappings"] = mapping(BASE);
    let script = probe::script().ask_with("stat", json!({ "path": "/m" })).ask("mounts");
    let answers = cx.container(script).mount(mount).answers().await?;
    check_eq!(owner(&answers, 0)?, both(BASE), "the owner of the mount's root");
    let options = words(&mount_at(&answers, "/m")?, "super_options");
    let requirement = format!("mount-option.{option}.not-passed-to-mount2");
    check!(of &requirement; !options.contains(&option), format!("no option {option} of the file system"), "{options:?}");
    Ok(())
}

const ALONE: &[Variant] = &[
    Variant::new("idmap", &["mount-option.idmap.no-userns-errors"]),
    Variant::new("ridmap", &["mount-option.ridmap.no-userns-errors"]),
];

/// An id-mapped mount without mappings and without a user namespace is an error.
#[case(covers = [], matrix(option = ALONE))]
async fn mapping_without_any_mapping_is_error(cx: &mut Cx) -> Verdict {
    let mount = bind(&source(cx)?, &["rbind", cx.param("option")]);
    cx.container(probe::exit(0)).mount(mount).rejected().await?;
    Ok(())
}

const ONE_SIDED: &[Variant] = &[
    Variant::new("uidMappings", &["mounts.uid-mappings.needs-gid"]),
    Variant::new("gidMappings", &["mounts.gid-mappings.needs-uid"]),
];

/// A mapping of users without one of groups, or the reverse, is an error.
#[case(covers = [], matrix(member = ONE_SIDED))]
async fn one_sided_mapping_is_error(cx: &mut Cx) -> Verdict {
    let mut mount = bind(&source(cx)?, &["rbind"]);
    mount[cx.param("member")] = mapping(BASE);
    cx.container(probe::exit(0)).mount(mount).rejected().await?;
    Ok(())
}
