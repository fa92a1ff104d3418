//! Steps after which nothing of the script remains.
use crate::names;
use crate::prelude::*;
use crate::sys::process;

pub fn exit(cx: &mut Cx, step: &Step) -> Answer {
    let code = step.int_or("code", 0)?;
    cx.last_words(json!({ "code": code }));
    process::exit(code as i32)
}

/// Dies by a signal with its default action. Where that does not end the process, the step fails with ESRCH's
/// opposite: it is still there, and goes on with the script.
pub fn die(cx: &mut Cx, step: &Step) -> Answer {
    let value = step.get("signal").ok_or_else(|| Fail::script("`signal` is missing"))?;
    let signal = names::signal_number(value)?;
    cx.last_words(json!({ "signal": names::signal(signal) }));
    process::die_by(signal);
    // Stopped and continued, ignored by default, or PID 1: the harness reads it off the exit code.
    process::exit(124)
}

/// Executes this program's image again: with `script` as its first argument, or with a whole `argv`.
pub fn exec_self(cx: &mut Cx, step: &Step) -> Answer {
    let mut argv = step.c_strings("argv")?.unwrap_or_default();
    if argv.is_empty() {
        let script = match step.get("script") {
            Some(Value::String(text)) => crate::step::c_string(text)?,
            Some(object) => crate::step::c_string(&object.to_string())?,
            None => return Err(Fail::script("`script` or `argv` is missing")),
        };
        let own = sys::args().first().copied().unwrap_or(b"/probe").to_vec();
        argv = vec![CString::new(own).unwrap_or_default(), script];
    }
    let env = step.c_strings("env")?;
    let path = match step.get("path") {
        Some(_) => step.c_string("path")?,
        None => c"/proc/self/exe".to_owned(),
    };
    cx.last_words(json!({ "argv": argv.len() }));
    let errno = process::exec(&path, &argv, env.as_deref());
    let fail = Fail::new(errno, format_args!("exec {}", path.to_string_lossy()));
    crate::modes::broken(fail.message());
    process::exit(126)
}
