//! config-linux.md, intelRdt: what needs a mounted resctrl skips without one; that its lack is an error does not.

use plimsoll_kit::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

/// The file's table of contents.
pub static CASES: &[Case] = &[
    missing_resctrl_is_error,
    malformed_schema_is_error,
    process_joins_the_class,
    schema_is_written,
    class_without_name_is_the_container_s_own,
    own_class_is_removed_and_a_named_one_stays,
    missing_class_without_schema_is_error,
    existing_class_of_another_schema_is_error,
    absent_object_touches_nothing,
    monitoring_group_lives_with_the_container,
    failing_monitoring_group_is_error,
];

const ROOT: &str = "/sys/fs/resctrl";

fn need_resctrl(cx: &Cx) -> Result<(), Stop> {
    cx.need_path("/sys/fs/resctrl/schemata", "resctrl")
}

/// Without a mounted resctrl the object is an error.
#[case(covers = ["intel-rdt.no-resctrl-errors", "intel-rdt.rules-apply"], exclusive = ["resctrl"])]
async fn missing_resctrl_is_error(cx: &mut Cx) -> Verdict {
    let mounted = Path::new(ROOT).join("schemata").exists();
    cx.need(!mounted, "no-resctrl", "resctrl is mounted on this host")?;
    let id = cx.new_id();
    cx.container(probe::exit(0)).set("/linux/intelRdt", json!({ "closID": id })).rejected().await?;
    Ok(())
}

const MALFORMED: &[Variant] = &[
    Variant::new("bandwidth-without-MB", &["intel-rdt.mem-bw-schema.prefix"]),
    Variant::new("bandwidth-with-newline", &["intel-rdt.mem-bw-schema.no-newline"]),
    Variant::new("schemata-with-newline", &["intel-rdt.schemata.no-newline"]),
];

/// A schema that breaks its form is an error.
#[case(covers = [], matrix(schema = MALFORMED), exclusive = ["resctrl"])]
async fn malformed_schema_is_error(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    let line = line_of("MB").or_else(|| line_of("L3"));
    cx.need(line.is_some(), "resctrl-schema", "resctrl has neither an MB nor an L3 resource")?;
    let line = line.unwrap_or_default();
    let rdt = match cx.param("schema") {
        "bandwidth-without-MB" => json!({ "memBwSchema": line.trim_start_matches("MB:") }),
        "bandwidth-with-newline" => json!({ "memBwSchema": format!("MB:0=20\n{line}") }),
        _ => json!({ "schemata": [format!("{line}\n{line}")] }),
    };
    cx.container(probe::exit(0)).set("/linux/intelRdt", rdt).rejected().await?;
    Ok(())
}

/// The root's own line of a resource: a schema that is valid on this host.
fn line_of(resource: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(ROOT).join("schemata")).ok()?;
    text.lines().map(str::trim).find(|l| l.starts_with(&format!("{resource}:"))).map(str::to_owned)
}

/// A directory of a class that the case made; removed when dropped.
struct Class(PathBuf);

impl Class {
    fn make(name: &str) -> Result<Self, Stop> {
        let dir = Path::new(ROOT).join(name);
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn lists(dir: &Path, pid: i32) -> Result<bool, Stop> {
    let text = fs::read_to_string(dir.join("tasks"))?;
    Ok(text.lines().any(|l| l.trim() == pid.to_string()))
}

const CLASSES: &[Variant] = &[
    Variant::new(
        "existing",
        &["intel-rdt.clos-only-assigns", "intel-rdt.none-no-write", "intel-rdt.clos-id"],
    ),
    Variant::new("default", &["intel-rdt.clos-id.slash-is-default"]),
];

/// The container's process is in the class that is named.
#[case(covers = ["intel-rdt.writes-pid", "intel-rdt"], matrix(class = CLASSES), exclusive = ["resctrl"])]
async fn process_joins_the_class(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    let name = cx.new_id();
    let class = Class::make(&name)?;
    let before = fs::read_to_string(class.0.join("schemata"))?;
    let default = cx.param("class") == "default";
    let id = if default { "/" } else { name.as_str() };
    let builder = cx.container(probe::pause()).set("/linux/intelRdt", json!({ "closID": id }));
    let container = builder.running().await?;
    let dir = if default { PathBuf::from(ROOT) } else { class.0.clone() };
    check!(lists(&dir, container.pid()?)?, format!("the process in {}", dir.display()), "it is not listed");
    check_eq!(fs::read_to_string(class.0.join("schemata"))?, before, "the schemata of the class");
    container.delete_force().await?.ready("delete")?;
    Ok(())
}

const SCHEMAS: &[Variant] = &[
    Variant::new("l3", &["intel-rdt.l3-cache-schema", "intel-rdt.single-written"]),
    Variant::new("mb", &["intel-rdt.mem-bw-schema", "intel-rdt.single-written"]),
    Variant::new("both", &["intel-rdt.both-written", "intel-rdt.write-order"]),
    Variant::new("schemata", &["intel-rdt.schemata", "intel-rdt.schemata-written"]),
];

/// The configured schema stands in the class's file; a missing class is made.
#[case(covers = ["intel-rdt.clos-dir-created"], matrix(schema = SCHEMAS), exclusive = ["resctrl"])]
async fn schema_is_written(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    let (l3, mb) = (line_of("L3"), line_of("MB"));
    let kind = cx.param("schema");
    let needed = matches!(kind, "mb") || l3.is_some();
    let needed = needed && (!matches!(kind, "mb" | "both") || mb.is_some());
    cx.need(needed, "resctrl-schema", "resctrl lacks the resource that the schema is about")?;
    let (l3, mb) = (l3.unwrap_or_default(), mb.unwrap_or_default());
    let name = cx.new_id();
    let (rdt, lines) = match kind {
        "l3" => (json!({ "closID": name, "l3CacheSchema": l3 }), vec![l3]),
        "mb" => (json!({ "closID": name, "memBwSchema": mb }), vec![mb]),
        "both" => (json!({ "closID": name, "l3CacheSchema": l3, "memBwSchema": mb }), vec![l3, mb]),
        _ => (json!({ "closID": name, "schemata": [l3] }), vec![l3]),
    };
    // Removes what the runtime made under a given name, which it has to leave.
    let class = Class(Path::new(ROOT).join(&name));
    let container = cx.container(probe::pause()).set("/linux/intelRdt", rdt).running().await?;
    let text = fs::read_to_string(class.0.join("schemata")).unwrap_or_default();
    for line in lines {
        check!(text.lines().any(|l| l.trim() == line), format!("the line {line}"), "{text:?}");
    }
    container.delete_force().await?.ready("delete")?;
    Ok(())
}

/// Without a name the class is named after the container.
#[case(covers = ["intel-rdt.no-clos-id-uses-container-id"], exclusive = ["resctrl"])]
async fn class_without_name_is_the_container_s_own(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    let line = line_of("L3").or_else(|| line_of("MB"));
    cx.need(line.is_some(), "resctrl-schema", "resctrl has neither an MB nor an L3 resource")?;
    let builder = cx.container(probe::pause()).set("/linux/intelRdt", json!({ "schemata": [line] }));
    let container = builder.running().await?;
    let dir = Path::new(ROOT).join(container.id());
    check!(dir.is_dir(), format!("the directory {}", dir.display()), "it does not exist");
    check!(lists(&dir, container.pid()?)?, "the process in it", "it is not listed");
    Ok(())
}

/// At delete a class without a name goes, and a named one stays.
#[case(covers = ["intel-rdt.removes-own-dir", "intel-rdt.keeps-clos-dir"], exclusive = ["resctrl"])]
async fn own_class_is_removed_and_a_named_one_stays(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    let line = line_of("L3").or_else(|| line_of("MB"));
    cx.need(line.is_some(), "resctrl-schema", "resctrl has neither an MB nor an L3 resource")?;
    let builder = cx.container(probe::exit(0)).set("/linux/intelRdt", json!({ "schemata": [line] }));
    let container = builder.stopped().await?;
    container.delete().await?.must_succeed()?;
    let own = Path::new(ROOT).join(container.id());
    check!(!own.exists(), "the container's own class is gone", "{} exists", own.display());
    let name = cx.new_id();
    let class = Class::make(&name)?;
    let builder = cx.container(probe::exit(0)).set("/linux/intelRdt", json!({ "closID": name }));
    builder.stopped().await?.delete().await?.must_succeed()?;
    check!(of "intel-rdt.keeps-clos-dir"; class.0.is_dir(), "the named class stays", "it is gone");
    Ok(())
}

/// A named class that does not exist is an error when no schema is given.
#[case(covers = ["intel-rdt.clos-only-checks-dir"], exclusive = ["resctrl"])]
async fn missing_class_without_schema_is_error(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    let name = cx.new_id();
    cx.container(probe::exit(0)).set("/linux/intelRdt", json!({ "closID": name })).rejected().await?;
    Ok(())
}

/// A class that exists with another schema than the given one is an error.
#[case(covers = ["intel-rdt.clos-dir-mismatch-errors"], exclusive = ["resctrl"])]
async fn existing_class_of_another_schema_is_error(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    let line = line_of("L3");
    cx.need(line.is_some(), "resctrl-l3", "resctrl has no L3 resource")?;
    let name = cx.new_id();
    let _class = Class::make(&name)?;
    let rdt = json!({ "closID": name, "l3CacheSchema": "L3:0=1" });
    cx.container(probe::exit(0)).set("/linux/intelRdt", rdt).rejected().await?;
    Ok(())
}

/// Without the object nothing below resctrl changes.
#[case(covers = ["intel-rdt.unset-untouched"], exclusive = ["resctrl"])]
async fn absent_object_touches_nothing(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    let tree = || -> Result<Vec<PathBuf>, Stop> {
        let mut all: Vec<PathBuf> = fs::read_dir(ROOT)?.flatten().map(|e| e.path()).collect();
        all.sort();
        Ok(all)
    };
    let before = (tree()?, fs::read_to_string(Path::new(ROOT).join("schemata"))?);
    let container = cx.container(probe::pause()).running().await?;
    let during = (tree()?, fs::read_to_string(Path::new(ROOT).join("schemata"))?);
    container.delete_force().await?.ready("delete")?;
    check_eq!(during, before, "the entries and the schemata of resctrl");
    Ok(())
}

/// A monitoring group is made under the container's id and goes with it.
#[case(
    covers = [
        "intel-rdt.mon-group-created", "intel-rdt.mon-group-named-by-id", "intel-rdt.mon-group-deleted",
        "intel-rdt.enable-monitoring"
    ],
    exclusive = ["resctrl"]
)]
async fn monitoring_group_lives_with_the_container(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    cx.need_path("/sys/fs/resctrl/mon_groups", "resctrl-monitoring")?;
    let rdt = json!({ "closID": "/", "enableMonitoring": true });
    let container = cx.container(probe::exit(0)).set("/linux/intelRdt", rdt).stopped().await?;
    let group = Path::new(ROOT).join("mon_groups").join(container.id());
    check!(group.is_dir(), format!("the group {}", group.display()), "it does not exist");
    container.delete().await?.must_succeed()?;
    check!(of "intel-rdt.mon-group-deleted"; !group.exists(), "the group is gone after delete", "it exists");
    Ok(())
}

/// When the monitoring group cannot be made, create is an error.
#[case(covers = ["intel-rdt.mon-group-failure-errors"], exclusive = ["resctrl"])]
async fn failing_monitoring_group_is_error(cx: &mut Cx) -> Verdict {
    need_resctrl(cx)?;
    let monitors = Path::new(ROOT).join("mon_groups").is_dir();
    cx.need(!monitors, "no-resctrl-monitoring", "resctrl can monitor on this host, so a group can be made")?;
    let rdt = json!({ "closID": "/", "enableMonitoring": true });
    cx.container(probe::exit(0)).set("/linux/intelRdt", rdt).rejected().await?;
    Ok(())
}
