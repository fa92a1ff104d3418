//! `plimsoll vm`: throw-away virtual machines as test environments.

use crate::args::{Accelerate, Cgroups, Global, VmBuildArgs, VmRunArgs, VmVerb};
use crate::output;
use crate::run::code_of;
use crate::usage::Failure;
use plimsoll_model::ExitCode;
use plimsoll_vm::debian::{self, Request};
use plimsoll_vm::image::Copied;
use plimsoll_vm::qemu::{self, Accelerator};
use plimsoll_vm::run::{Wanted, Watcher};
use plimsoll_vm::{CgroupLayout, Deadlines, Image, Job, Options, VmError};
use std::collections::BTreeMap;
use std::io::Write;

impl From<VmError> for Failure {
    fn from(error: VmError) -> Self {
        let code = match &error {
            VmError::File { .. } | VmError::Usage(_) => ExitCode::Usage,
            VmError::Program { .. } | VmError::Machine { .. } | VmError::Channel(_) => ExitCode::Trouble,
        };
        Self { what: error.to_string(), hint: error.hint().to_owned(), code }
    }
}

/// `plimsoll vm`.
pub fn verb(global: &Global, verb: VmVerb) -> Result<ExitCode, Failure> {
    match verb {
        VmVerb::Build(args) => build(args),
        VmVerb::Run(args) => run(global, *args),
    }
}

fn build(args: VmBuildArgs) -> Result<ExitCode, Failure> {
    let mut request = Request { suite: args.suite, kernel_suite: args.kernel_suite, ..Request::default() };
    request.packages.extend(args.package);
    if let Some(kernel) = args.kernel_package {
        request.kernel = kernel;
    }
    let built = debian::build(&request, &args.dir, args.fresh, &mut output::note)?;
    let manifest = plimsoll_vm::image::read_manifest(&args.dir)?;
    let state = if built { "built" } else { "as it was asked for already" };
    output::note(&format!("{}: {state}", args.dir.display()));
    output::line(&format!("linux {}", manifest.kernel));
    for (name, version) in manifest.packages {
        output::line(&format!("{name} {version}"));
    }
    Ok(ExitCode::Success)
}

fn run(global: &Global, args: VmRunArgs) -> Result<ExitCode, Failure> {
    let image = match (&args.image, &args.kernel, &args.rootfs) {
        (Some(dir), None, None) => Image::open(dir)?,
        (None, Some(kernel), Some(root)) => Image::from_parts(kernel, root)?,
        _ => {
            return Err(Failure::usage("nothing to boot: give --image, or --kernel and --rootfs")
                .hint("`plimsoll vm build DIR` makes an image from Debian packages"));
        }
    };
    for word in &args.arguments {
        let name = word.split('=').next().unwrap_or_default();
        if matches!(name, "--out" | "--work-dir") {
            return Err(Failure::usage(format!("{name} cannot be given for the command in the guest"))
                .hint("give --out in front of `--`: the results are brought there"));
        }
    }
    if args.cpus == Some(0) || args.timeout == 0 || args.memory < 256 {
        return Err(Failure::usage("--cpus and --timeout take a number above 0, --memory 256 or more"));
    }
    let cpus =
        args.cpus.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, |n| n.get() as u32));
    let copies = args.copy.iter().map(|c| Copied::parse(c)).collect::<Result<Vec<_>, _>>()?;
    let job = Job {
        arguments: args.arguments,
        environment: environment(&args.env, &args.name)?,
        seconds: args.timeout,
        modules: image.modules.clone(),
        cgroups: match args.cgroups {
            Cgroups::V2 => CgroupLayout::V2,
            Cgroups::V1 => CgroupLayout::V1,
            Cgroups::Hybrid => CgroupLayout::Hybrid,
        },
        largest: 256 << 20,
        hostname: args.name,
    };
    let options = Options {
        image,
        qemu: qemu::find(args.qemu.as_deref())?,
        wanted: match args.accel {
            Accelerate::Auto => Wanted::Auto,
            Accelerate::Kvm => Wanted::Only(Accelerator::Kvm),
            Accelerate::Tcg => Wanted::Only(Accelerator::Tcg),
        },
        cpus,
        memory: args.memory,
        append: args.append,
        copies,
        job,
        program: plimsoll_vm::run::own_program()?,
        out: global.out.clone(),
        console: args.console,
        deadlines: Deadlines::default(),
    };
    let report = plimsoll_vm::run(&options, &mut Terminal)?;
    output::note(&format!(
        "guest: up in {:.1} s, worked {:.1} s, off in {:.1} s; results in {}",
        report.boot.as_secs_f64(),
        report.work.as_secs_f64(),
        report.off.as_secs_f64(),
        global.out.display()
    ));
    Ok(code_of(report.code))
}

/// Variables of the host that mean the same in the guest: where a pipeline runs, and which share of it.
const PASSED: [&str; 14] = [
    "CI",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "JENKINS_URL",
    "JOB_COMPLETION_INDEX",
    "JOB_COMPLETIONS",
    "CI_NODE_INDEX",
    "CI_NODE_TOTAL",
    "BUILDKITE_PARALLEL_JOB",
    "BUILDKITE_PARALLEL_JOB_COUNT",
    "CIRCLE_NODE_INDEX",
    "CIRCLE_NODE_TOTAL",
    "PLIMSOLL_PROFILE",
    "PLIMSOLL_TIMEOUT_SCALE",
];

fn environment(given: &[String], name: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut all: BTreeMap<String, String> =
        PASSED.iter().filter_map(|n| Some(((*n).to_owned(), std::env::var(n).ok()?))).collect();
    all.insert("PLIMSOLL_NODE".into(), name.to_owned());
    for pair in given {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Failure::usage(format!("`{pair}` is no NAME=VALUE")))?;
        all.insert(key.to_owned(), value.to_owned());
    }
    Ok(all)
}

/// Output of the guest's command is this program's output.
struct Terminal;

impl Watcher for Terminal {
    fn stdout(&mut self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    fn stderr(&mut self, bytes: &[u8]) {
        let _ = std::io::stderr().lock().write_all(bytes);
    }

    fn note(&mut self, text: &str) {
        output::note(text);
    }
}
