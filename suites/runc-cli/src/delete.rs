//! delete, by force and without.

use super::support::{need_freezer, need_verb, running};
use plimsoll_kit::prelude::*;

/// The file's table of contents.
pub static CASES: &[Case] = &[
    force_removes_it_in_every_stage,
    force_removes_a_paused_container,
    force_on_an_unknown_id_succeeds,
    running_container_stays_without_force,
    deleting_a_created_container_is_recorded,
];

const STAGES: &[Variant] =
    &[Variant::new("created", &[]), Variant::new("running", &[]), Variant::new("stopped", &[])];

/// By force a container is removed in every stage of its life.
#[case(covers = ["cli.delete.force"], matrix(stage = STAGES))]
async fn force_removes_it_in_every_stage(cx: &mut Cx) -> Verdict {
    let container = match cx.param("stage") {
        "created" => cx.container(probe::pause()).created().await?,
        "running" => running(cx).await?,
        _ => cx.container(probe::exit(0)).stopped().await?,
    };
    container.delete_force().await?.must_succeed()?;
    container.nothing_left().await
}

/// By force a paused container is removed.
#[case(covers = ["cli.delete.force-paused"])]
async fn force_removes_a_paused_container(cx: &mut Cx) -> Verdict {
    need_verb(cx, "pause").await?;
    need_freezer(cx)?;
    let container = running(cx).await?;
    cx.runtime().verb("pause", container.id()).await?.must_succeed()?;
    container.delete_force().await?.must_succeed()?;
    container.nothing_left().await
}

/// By force the delete of a container that is not there succeeds.
#[case(covers = ["cli.delete.force-unknown"])]
async fn force_on_an_unknown_id_succeeds(cx: &mut Cx) -> Verdict {
    cx.runtime().delete_force(&cx.new_id()).await?.must_succeed()?;
    Ok(())
}

/// Without force a running container stays, and goes on.
#[case(covers = ["cli.delete.running"])]
async fn running_container_stays_without_force(cx: &mut Cx) -> Verdict {
    let container = running(cx).await?;
    container.delete().await?.must_fail()?;
    check!(!container.has_exited(), "the program lives", "it has ended");
    check_eq!(container.state().await?.status(), "running", "the status after the refused delete");
    Ok(())
}

/// Whether a created container is deleted without force is recorded.
#[case(covers = ["cli.delete.created"])]
async fn deleting_a_created_container_is_recorded(cx: &mut Cx) -> Verdict {
    let container = cx.container(probe::pause()).created().await?;
    cx.record("cli.delete.created", container.delete().await?.succeeded());
    Ok(())
}
