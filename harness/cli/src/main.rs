//! The `plimsoll` executable: the runner, every suite, the embedded probe and the bundled reference runtimes.
//!
//! The hidden worker verb and the bundled runtimes come before anything else: they must run in a process without
//! threads, and start as fast as they can.

mod args;
mod bench;
mod browse;
mod certify;
mod config;
mod doctor;
mod expectations;
mod images;
mod node;
mod output;
mod partition;
#[cfg(test)]
mod reference_page;
mod report;
mod rerun;
mod run;
mod selftest;
mod stress;
mod submission;
mod suites;
mod testbed;
mod usage;
mod verbose;
mod vm;

use args::{Cli, Verb};
use plimsoll_model::ExitCode;
use std::ffi::OsString;
use std::path::Path;

fn main() -> std::process::ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    // Called through a link named after a bundled runtime.
    let called = arguments.first().map(|a| Path::new(a).file_name().unwrap_or_default().to_owned());
    if called.as_deref().is_some_and(|n| n == "plimsoll-oci") {
        return plimsoll_oci::run(arguments.into_iter().skip(1)).into();
    }
    // The CRI server also starts its monitors and proxies under this name.
    if called.as_deref().is_some_and(|n| n == "plimsoll-cri") {
        return plimsoll_cri::run(arguments.into_iter().skip(1)).into();
    }
    // Process 1 of a virtual machine that `vm run` booted.
    if arguments.first().is_some_and(|a| plimsoll_vm::guest::is_guest(Path::new(a))) {
        plimsoll_vm::guest::main(arguments.get(1).is_some_and(|a| a == "again"));
        return ExitCode::Trouble.code().into();
    }
    // The injecting wrapper may stand in front of a bundled runtime, and then has the first word.
    if std::env::var_os(plimsoll_bench_scenarios::inject::INJECT).is_some()
        && let Some(code) = plimsoll_bench_scenarios::inject::wrapper_main()
    {
        return code;
    }
    match arguments.get(1).and_then(|a| a.to_str()) {
        Some(plimsoll_engine::pool::WORKER_VERB) => {
            return plimsoll_engine::worker::main(suites::FOR_WORKERS).into();
        }
        Some(plimsoll_engine::reference::SERVER_VERB) => return plimsoll_engine::reference::main().into(),
        Some("oci") => return plimsoll_oci::run(arguments.drain(2..)).into(),
        Some("cri") => return plimsoll_cri::run(arguments.drain(2..)).into(),
        Some("faults") => return plimsoll_faults::run_as(&["faults"], arguments.split_off(2)).into(),
        _ => {}
    }
    if let Some(code) = plimsoll_bench_scenarios::inject::wrapper_main() {
        return code;
    }
    let cli = match config::parse(&arguments) {
        Ok(cli) => cli,
        Err(config::Ended::Clap(e)) => {
            let _ = e.print();
            let usage = e.use_stderr();
            return if usage { ExitCode::Usage.code().into() } else { ExitCode::Success.code().into() };
        }
        Err(config::Ended::Failure(failure)) => {
            output::error(&failure);
            return failure.code.code().into();
        }
    };
    output::choose_color(cli.global.color);
    // The only verb whose exit code may be any: that of the command that it runs.
    if let Some(Verb::Testbed { verb }) = cli.verb {
        return testbed::verb(&cli.global, verb).map_or_else(
            |failure| {
                output::error(&failure);
                failure.code.code().into()
            },
            std::process::ExitCode::from,
        );
    }
    match dispatch(cli) {
        Ok(code) => code.code().into(),
        Err(failure) => {
            output::error(&failure);
            failure.code.code().into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, usage::Failure> {
    match cli.verb {
        None => run::main_job(&cli.global),
        Some(Verb::Run(options)) => run::verb(&cli.global, &options),
        Some(Verb::List(options)) => browse::list(&options),
        Some(Verb::Explain { name }) => browse::explain(&name),
        Some(Verb::Coverage { format }) => browse::coverage(format),
        Some(Verb::Doctor { target, json }) => doctor::verb(&cli.global, &target, json),
        Some(Verb::Gc { run }) => browse::gc(&cli.global, run.as_deref()),
        Some(Verb::Report { verb }) => report::verb(verb),
        Some(Verb::Bench(options)) => bench::verb(&cli.global, &options),
        Some(Verb::Selftest(options)) => selftest::verb(&cli.global, &options),
        Some(Verb::Certify(options)) => certify::certify(&cli.global, &options),
        Some(Verb::Verify(options)) => certify::verify(&options),
        Some(Verb::Node(options)) => node::verb(&cli.global, options),
        Some(Verb::Vm { verb }) => vm::verb(&cli.global, verb),
        Some(Verb::Expectations { verb }) => expectations::verb(&verb),
        Some(Verb::Submission { verb }) => submission::verb(&verb),
        Some(Verb::Config { verb }) => config::verb(cli.global.config.as_ref(), &verb),
        Some(Verb::Schema { name }) => browse::schema(&name),
        Some(Verb::Completions { shell }) => Ok(browse::completions(shell)),
        Some(Verb::Man { verb }) => browse::man(verb.as_deref()),
        Some(Verb::Images { verb }) => images::verb(&verb),
        Some(Verb::Testbed { .. } | Verb::Oci { .. } | Verb::Cri { .. } | Verb::Faults { .. }) => {
            Ok(ExitCode::Usage)
        }
    }
}
