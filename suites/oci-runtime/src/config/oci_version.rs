//! config.md, ociVersion: required, in SemVer form, and compatible within a major version.

use plimsoll_kit::prelude::*;
use plimsoll_model::SpecVersion;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    is_required,
    other_forms_are_errors,
    earlier_versions_are_accepted,
    other_major_version_is_error,
    later_minor_version_is_recorded,
];

const ABSENT: &[Variant] =
    &[Variant::new("absent", &[]), Variant::new("null", &[]), Variant::new("empty", &[])];

/// A configuration without a version is an error.
#[case(covers = ["oci-version.required"], matrix(form = ABSENT))]
async fn is_required(cx: &mut Cx) -> Verdict {
    let builder = cx.container(probe::exit(0));
    let builder = match cx.param("form") {
        "absent" => builder.remove("/ociVersion"),
        "null" => builder.set("/ociVersion", Value::Null),
        _ => builder.set("/ociVersion", ""),
    };
    builder.rejected().await?;
    Ok(())
}

const FORMS: &[Variant] = &[
    Variant::new("1", &[]),
    Variant::new("1.0", &[]),
    Variant::new("v1.0.2", &[]),
    Variant::new("1.0.2.0", &[]),
    Variant::new("01.0.2", &[]),
    Variant::new("1.0.x", &[]),
    Variant::new("1.0.2-", &[]),
    Variant::new("banana", &[]),
];

/// A version that is not in SemVer 2.0.0 form is an error.
#[case(covers = ["oci-version.semver"], tags = ["parser-leniency"], matrix(version = FORMS))]
async fn other_forms_are_errors(cx: &mut Cx) -> Verdict {
    cx.container(probe::exit(0)).version(cx.param("version")).rejected().await?;
    Ok(())
}

const RELEASES: &[Variant] = &[
    Variant::new("1.0.0", &[]),
    Variant::new("1.0.1", &[]),
    Variant::new("1.0.2", &[]),
    Variant::new("1.1.0", &[]),
    Variant::new("1.2.0", &[]),
    Variant::new("1.2.1", &[]),
    Variant::new("1.3.0", &[]),
];

/// A configuration of any release up to the version that the runtime declares is accepted.
#[case(covers = ["oci-version.compat-within-major"], matrix(version = RELEASES))]
async fn earlier_versions_are_accepted(cx: &mut Cx) -> Verdict {
    let version = cx.param("version");
    let parsed: SpecVersion =
        version.parse().map_err(|_| Stop::setup(format!("{version} does not parse as a version")))?;
    if let Some(declared) = cx.declared_version()
        && parsed > declared.release()
    {
        return Err(Stop::NotApplicable {
            capability: format!("spec-{version}"),
            reason: format!("the target declares version {declared}"),
        });
    }
    let container = cx.container(probe::exit(0)).version(version).stopped().await?;
    container.delete().await?.must_succeed()?;
    Ok(())
}

const MAJORS: &[Variant] = &[Variant::new("2.0.0", &[]), Variant::new("99.0.0", &[])];

/// A configuration of another major version is an error: nobody knows what it says.
#[case(covers = ["valid-values.error", "oci-version.compat-within-major"], matrix(version = MAJORS))]
async fn other_major_version_is_error(cx: &mut Cx) -> Verdict {
    cx.container(probe::exit(0)).version(cx.param("version")).rejected().await?;
    Ok(())
}

const LATER: &[Variant] =
    &[Variant::new("1.99.0", &[]), Variant::new("1.0.2-dev", &[]), Variant::new("0.9.0", &[])];

/// What a runtime does with versions that it is not bound to accept is recorded.
#[case(covers = ["oci-version.compat-within-major"], matrix(version = LATER))]
async fn later_minor_version_is_recorded(cx: &mut Cx) -> Verdict {
    let (call, container) = cx.container(probe::exit(0)).version(cx.param("version")).attempt().await?;
    let key = format!("oci-version.{}", cx.param("version"));
    cx.record(&key, if call.succeeded() { "accepted" } else { "refused" });
    if !call.succeeded() {
        call.must_fail()?;
        container.nothing_left().await?;
    }
    Ok(())
}
