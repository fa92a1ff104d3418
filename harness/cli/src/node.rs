//! `plimsoll node`: run on the node below a container, as a Kubernetes job or as a plugin of Sonobuoy.

use crate::args::{Global, NodeArgs};
use crate::output;
use crate::run::code_of;
use crate::usage::{self, Failure};
use plimsoll_model::ExitCode;
use plimsoll_vm::node::{self, Options};
use plimsoll_vm::sonobuoy;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// `plimsoll node`.
pub fn verb(global: &Global, args: NodeArgs) -> Result<ExitCode, Failure> {
    let place = std::path::absolute(&args.results).map_err(|e| usage::file("find", &args.results, &e))?;
    if args.sonobuoy && sonobuoy::is_done(&place) {
        output::note("the results are there already");
        return ended(args.stay, ExitCode::Success);
    }
    let options = Options {
        shared: args.shared,
        program: plimsoll_vm::run::own_program()?,
        arguments: args.arguments,
        limit: Duration::from_secs(args.timeout),
        enter: !args.here,
    };
    let result = node::run(&options);
    if args.sonobuoy {
        let (results, note) = match &result {
            Ok(ended) => (Some(ended.results()), format!("exit code {}\n", ended.code)),
            Err(e) => (None, format!("{e}\n")),
        };
        let archive = sonobuoy::deliver(results.as_deref(), &note, &place)?;
        output::note(&format!("results: {}", archive.display()));
    }
    let result = result?;
    if !result.entered && !args.here {
        output::note("this is the file system of process 1 already: on a node, or in a pod without hostPID");
    }
    copy(&result.results(), &global.out).map_err(|e| usage::file("write", &global.out, &e))?;
    let code = code_of(result.code);
    if result.interrupted {
        return Ok(code);
    }
    drop(result);
    ended(args.stay, code)
}

fn ended(stay: bool, code: ExitCode) -> Result<ExitCode, Failure> {
    if stay {
        output::note(&format!("done with exit code {}; staying until SIGTERM", code.code()));
        node::stay()?;
    }
    Ok(code)
}

/// Copies files and directories; what is there under the same name is replaced.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            let temporary = tempfile::NamedTempFile::new_in(to)?;
            fs::copy(entry.path(), temporary.path())?;
            temporary.persist(&target).map_err(|e| e.error)?;
        }
    }
    Ok(())
}
