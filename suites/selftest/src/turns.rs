//! Attempts after attempts, and cases that must not run at the same time.

use plimsoll_kit::prelude::*;
use plimsoll_kit::wait::Poll;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The file's table of contents.
pub static CASES: &[Case] = &[errs_once, is_alone, knows_its_value];

/// A file of the run, seen by every attempt.
fn of_the_run(cx: &Cx, name: &str) -> Result<PathBuf, Stop> {
    let run = cx.dir().parent().ok_or_else(|| Stop::setup("the work directory has no parent"))?;
    Ok(run.join(name))
}

/// The first attempt is in trouble, the next one passes.
#[case(covers = ["self.must"])]
async fn errs_once(cx: &mut Cx) -> Verdict {
    let mark = of_the_run(cx, "erred")?;
    if mark.exists() {
        return Ok(());
    }
    fs::write(mark, "")?;
    Err(Stop::setup("the first attempt never works"))
}

const SEATS: &[Variant] = &[Variant::new("a", &[]), Variant::new("b", &[]), Variant::new("c", &[])];

/// Cases that want the same thing for themselves take turns.
#[case(covers = ["self.must"], matrix(seat = SEATS), exclusive = ["chair"])]
async fn is_alone(cx: &mut Cx) -> Verdict {
    let chair = of_the_run(cx, "chair")?;
    let taken = fs::OpenOptions::new().write(true).create_new(true).open(&chair);
    check!(taken.is_ok(), "the chair is free", "somebody sits on it");
    // Long enough for the others to come, if anybody let them.
    let start = Instant::now();
    let rest = Duration::from_millis(150);
    wait_until("the rest is over", rest * 100, async || {
        let over = start.elapsed() >= rest;
        Ok(if over { Poll::Ready(()) } else { Poll::NotYet("resting".into()) })
    })
    .await?;
    fs::remove_file(&chair)?;
    Ok(())
}

/// A case of a matrix is told its value.
#[case(covers = ["self.must"], matrix(seat = SEATS))]
async fn knows_its_value(cx: &mut Cx) -> Verdict {
    let told = cx.param("seat").to_owned();
    check!(SEATS.iter().any(|v| v.value == told), "a value of the matrix", "{told}");
    Ok(())
}
