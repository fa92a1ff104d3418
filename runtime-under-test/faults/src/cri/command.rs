//! `plimsoll-faults cri-proxy --listen SOCKET --upstream SOCKET [--fault ID]... [--step TEXT]...`

use std::ffi::OsString;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::proxy::{Options, serve};
use super::script;
use crate::catalogue;
use crate::error::Trouble;
use crate::step::Action;

/// Usage of the command.
const USAGE: &str =
    "cri-proxy --listen unix:///PATH --upstream unix:///PATH [--fault ID]... [--step 'RPCS OPERATION']...";

/// Runs the proxy until SIGTERM or SIGINT.
pub fn run(words: &[OsString]) -> Result<u8, Trouble> {
    let options = parse(words)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Trouble::io("start the event loop", e))?;
    let place = options.listen.display().to_string();
    runtime
        .block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let stop = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            };
            serve(options, stop).await
        })
        .map_err(|e| Trouble::io(format!("serve on {place}"), e))?;
    Ok(0)
}

fn usage(why: &str) -> Trouble {
    Trouble::Usage(format!("{why}; {USAGE}"))
}

fn socket(text: &str) -> PathBuf {
    PathBuf::from(text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")).unwrap_or(text))
}

fn parse(words: &[OsString]) -> Result<Options, Trouble> {
    let (mut listen, mut upstream, mut steps) = (None, None, Vec::new());
    let mut words = words.iter().map(|w| w.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let (flag, inline) =
            word.split_once('=').map_or((word.clone(), None), |(f, v)| (f.to_owned(), Some(v.to_owned())));
        let mut value =
            || inline.clone().or_else(|| words.next()).ok_or_else(|| usage(&format!("{flag} needs a value")));
        match flag.as_str() {
            "--listen" => listen = Some(socket(&value()?)),
            "--upstream" => upstream = Some(socket(&value()?)),
            "--step" => steps.push(script::parse(&value()?).map_err(Trouble::Usage)?),
            "--fault" => steps.extend(steps_of(&value()?)?),
            other => return Err(usage(&format!("{other:?} is not known"))),
        }
    }
    match (listen, upstream) {
        (Some(listen), Some(upstream)) => Ok(Options { listen, upstream, steps }),
        _ => Err(usage("both sockets are needed")),
    }
}

/// The proxy's steps of a catalogued fault; `none` has none.
pub fn steps_of(id: &str) -> Result<Vec<script::Step>, Trouble> {
    if id == catalogue::NONE {
        return Ok(Vec::new());
    }
    let fault = catalogue::find(id).map_err(|_| Trouble::UnknownFault(id.to_owned()))?;
    fault
        .steps
        .into_iter()
        .map(|step| match step.action {
            Action::Proxy(step) => Ok(*step),
            _ => Err(Trouble::NotHere {
                id: id.to_owned(),
                why: "it is no fault of a CRI endpoint".to_owned(),
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_steps_are_read() {
        let words: Vec<OsString> =
            ["--listen=unix:///a", "--upstream", "/b", "--step", "Version swallow", "--fault", "none"]
                .map(OsString::from)
                .to_vec();
        let options = parse(&words).unwrap();
        assert_eq!((options.listen, options.upstream, options.steps.len()), ("/a".into(), "/b".into(), 1));
        for bad in [
            &["--listen", "/a"][..],
            &["--what"],
            &["--listen"],
            &["--listen", "/a", "--upstream", "/b", "--fault", "x"],
        ] {
            assert!(parse(&bad.iter().map(OsString::from).collect::<Vec<_>>()).is_err(), "{bad:?}");
        }
    }
}
