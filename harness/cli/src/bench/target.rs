//! From target strings to what the driver drives.

use super::interface;
use crate::run::{bundled, targets};
use crate::usage::{self, Failure};
use plimsoll_bench_scenarios::inject::{self, Injection};
use plimsoll_bench_scenarios::{CgroupView, CriTarget, Interface, OciTarget, Target};
use plimsoll_engine::target::resolve_all;
use plimsoll_kit::job::{self, CgroupLayout};
use std::path::{Path, PathBuf};

/// Resolves all targets; they share one interface. Wrappers that inject a defect keep their counts below `work`.
pub fn resolve(texts: &[String], work: &Path) -> Result<Vec<Target>, Failure> {
    if let Some(odd) = texts.iter().find(|t| interface(t) != interface(&texts[0])) {
        return Err(Failure::usage(format!("`{}` and `{odd}` do different work", texts[0]))
            .hint("compare OCI runtimes in one run and CRI endpoints in another"));
    }
    let (plain, defects): (Vec<String>, Vec<Option<String>>) =
        texts.iter().map(|t| without_defect(t)).unzip();
    let resolved = resolve_all(&targets(&plain)?, &bundled()?).map_err(|e| Failure::usage(e.to_string()))?;
    resolved
        .into_iter()
        .zip(defects)
        .map(|(r, defect)| match r.target {
            job::Target::Oci(oci) => {
                let cgroups = match oci.cgroups {
                    CgroupLayout::Host => CgroupView::Host,
                    CgroupLayout::Legacy => CgroupView::Legacy,
                    CgroupLayout::V2 => CgroupView::V2,
                };
                let name = r.info.label;
                let target = OciTarget { name, program: oci.program, args: oci.args, env: oci.env, cgroups };
                defect.map_or(Ok(target.clone()), |d| wrapped(target, &d, work)).map(Target::Oci)
            }
            job::Target::Cri(cri) => Ok(Target::Cri(CriTarget {
                name: r.info.label,
                socket: socket(&cri.endpoint),
                image_socket: (cri.image_endpoint != cri.endpoint).then(|| socket(&cri.image_endpoint)),
                handler: cri.handler,
            })),
        })
        .collect()
}

fn socket(url: &str) -> PathBuf {
    url.trim_start_matches("unix://").into()
}

/// The target without its `inject` parameter, and that.
fn without_defect(text: &str) -> (String, Option<String>) {
    let Some((head, query)) = text.split_once('?') else { return (text.to_owned(), None) };
    if interface(text) == Interface::Cri {
        return (text.to_owned(), None);
    }
    let (mine, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(|p| p.starts_with("inject="));
    let defect = mine.last().and_then(|p| p.split_once('=')).map(|(_, v)| v.to_owned());
    let text = if rest.is_empty() { head.to_owned() } else { format!("{head}?{}", rest.join("&")) };
    (text, defect)
}

/// The runtime behind the injecting wrapper, which is this executable.
fn wrapped(mut target: OciTarget, defect: &str, work: &Path) -> Result<OciTarget, Failure> {
    if Injection::parse(defect).is_none() {
        return Err(Failure::usage(format!("`inject={defect}` is no known defect"))
            .hint(format!("known: {}", Injection::names().join(", "))));
    }
    // Removed with the directory around it.
    let scratch = tempfile::Builder::new().prefix("inject-").tempdir_in(work);
    let scratch = scratch.map_err(|e| usage::file("make a directory below", work, &e))?.keep();
    let runtime = std::mem::replace(&mut target.program, bundled()?.program);
    target.env.extend([
        (inject::INJECT.to_owned(), defect.to_owned()),
        (inject::RUNTIME.to_owned(), runtime.display().to_string()),
        (inject::SCRATCH.to_owned(), scratch.display().to_string()),
    ]);
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_taken_off_and_the_rest_stays() {
        let of = |text: &str| without_defect(text);
        assert_eq!(of("runc"), ("runc".into(), None));
        assert_eq!(of("runc?inject=cpu=900"), ("runc".into(), Some("cpu=900".into())));
        assert_eq!(
            of("oci:crun?cgroups=legacy&inject=none&name=b"),
            ("oci:crun?cgroups=legacy&name=b".into(), Some("none".into()))
        );
    }
}
