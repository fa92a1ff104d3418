//! What keeps a case from a verdict: it says nothing about the target, and costs nothing but the case.

use nix::sys::signal::{Signal, kill};
use plimsoll_kit::prelude::*;
use std::io::Write as _;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    fails_in_its_set_up,
    loses_its_files,
    panics,
    waits_for_ever,
    blocks_its_thread,
    kills_its_worker,
    ends_its_worker,
    floods_its_worker,
    hears_from_a_stranger,
];

/// Trouble while preparing is trouble.
#[case(covers = ["self.must"])]
async fn fails_in_its_set_up(_cx: &mut Cx) -> Verdict {
    Err(Stop::setup("the table has three legs"))
}

/// An error of the harness's own files is trouble.
#[case(covers = ["self.must"])]
async fn loses_its_files(cx: &mut Cx) -> Verdict {
    std::fs::read(cx.dir().join("not-there"))?;
    Ok(())
}

/// A panic is caught and told.
#[case(covers = ["self.must"])]
async fn panics(_cx: &mut Cx) -> Verdict {
    panic!("at the disco")
}

/// A body that never ends is stopped at its deadline.
#[case(covers = ["self.must"])]
async fn waits_for_ever(_cx: &mut Cx) -> Verdict {
    std::future::pending().await
}

/// A body that lets nobody else run is killed from outside.
#[case(covers = ["self.must"])]
async fn blocks_its_thread(_cx: &mut Cx) -> Verdict {
    loop {
        std::thread::park();
    }
}

/// A worker that is killed costs its own case only.
#[case(covers = ["self.must"])]
async fn kills_its_worker(_cx: &mut Cx) -> Verdict {
    kill(nix::unistd::Pid::this(), Signal::SIGKILL)?;
    std::future::pending().await
}

/// A worker that leaves without a result, however politely, has shown nothing.
#[case(covers = ["self.must"])]
#[allow(clippy::exit)] // The subject of the case.
async fn ends_its_worker(_cx: &mut Cx) -> Verdict {
    std::process::exit(0)
}

/// A flood in place of the result is cut off and is no result.
#[case(covers = ["self.must"])]
async fn floods_its_worker(_cx: &mut Cx) -> Verdict {
    let block = vec![b'x'; 1 << 20];
    let mut out = std::io::stdout();
    for _ in 0..32 {
        if out.write_all(&block).is_err() {
            break;
        }
    }
    Ok(())
}

/// Answers with another attempt's nonce are no evidence.
#[case(covers = ["self.must"])]
async fn hears_from_a_stranger(cx: &mut Cx) -> Verdict {
    let stranger = probe::ask(["identity"]).text("another-nonce", None);
    let container = cx.container(probe::exit(0)).set("/process/args/1", stranger).setup().stopped().await?;
    check!(!container.answers_so_far()?.is_done(), "no answer", "a stranger's answer was taken");
    container.delete().await?.ready("delete")?;
    Err(Stop::setup("nobody answered who was asked"))
}
