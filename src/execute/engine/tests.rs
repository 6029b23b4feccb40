//! Plans of snapshots on the memory driver, made by hand: groups, what a failure means, the user's wish to
//! stop. No backup is around them.

mod clusters;
mod lab;
mod scopes;

use super::Group;
use crate::execute::state::State;
use crate::execute::{Executed, Execution, Held, StepResult, Stopped};
use crate::plan::{Item, OnFailure, Plan, Step};
use crate::report::{Failure, GuestOutcome};
use crate::repository::RepositoryError;
use crate::storage::memory::{Fault, Operation};
use lab::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn steps_of_one_group_run_at_the_same_time_and_the_next_group_waits_for_all() {
    let lab = Lab::new().await;
    lab.memory.inject(Operation::CreateSnapshot, 1, Fault::Late(Duration::from_secs(20)));
    lab.memory.inject(Operation::CreateSnapshot, 2, Fault::Late(Duration::from_secs(10)));
    let begun = Instant::now();
    let steps = [lab.create(0), lab.create(1), lab.delete(2).await];
    let (executed, events) = lab.events_of(row(steps)).await;
    assert!(executed.stopped.is_none());
    assert_eq!(events, ["+1", "+0", "-2"]);
    assert_eq!(begun.elapsed().as_secs(), 20, "not one after the other");
}

#[tokio::test(start_paused = true)]
async fn what_was_made_is_taken_back_from_its_end() {
    let lab = Lab::new().await;
    let steps = [lab.create(0), Lab::hold(0), lab.create(1), Lab::hold(1), lab.delete(2).await];
    lab.memory.inject(Operation::ProtectSnapshot, 2, Fault::Before);
    let executed = lab.run(row(steps)).await;
    assert!(matches!(executed.stopped, Some(Stopped::Failed(_))));
    let takes = |call: &String| call.starts_with("unprotect") || call.starts_with("delete");
    let calls: Vec<String> = lab.memory.calls().into_iter().filter(takes).collect();
    let new = new_name();
    assert_eq!(
        calls,
        [
            format!("delete-snapshot ceph:disk-1@{new}"),
            format!("unprotect-snapshot ceph:disk-0@{new}"),
            format!("delete-snapshot ceph:disk-0@{new}"),
        ]
    );
    assert_eq!(lab.left(), (vec![], vec![]));
}

/// What is left after `+0`, a deletion on the second volume that fails and means this, and `-2`.
async fn after_a_failure(on_failure: OnFailure) -> (Lab, Executed) {
    let lab = Lab::new().await;
    let steps = [
        lab.create(0),
        meaning(on_failure, lab.delete(1).await),
        meaning(on_failure, lab.delete(2).await),
    ];
    lab.memory.inject(Operation::DeleteSnapshot, 1, Fault::Before);
    let executed = lab.run(row(steps)).await;
    (lab, executed)
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_undoes_the_plan_leaves_nothing_of_it() {
    let (lab, executed) = after_a_failure(OnFailure::UNDO).await;
    assert!(matches!(executed.stopped, Some(Stopped::Failed(_))));
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_stops_the_plan_leaves_what_was_done() {
    for on_failure in [OnFailure::STOP, OnFailure::PAST_DAMAGE] {
        let (lab, executed) = after_a_failure(on_failure).await;
        assert!(matches!(executed.stopped, Some(Stopped::Ended(Failure::Other, _))));
        assert_eq!(lab.left(), (vec![0], vec![]), "{on_failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_lets_the_plan_go_on_is_the_guests_in_the_end() {
    let (lab, executed) = after_a_failure(OnFailure::GO_ON).await;
    assert!(executed.stopped.is_none());
    assert_eq!(lab.left(), (vec![0], vec![2]));
    assert_eq!(executed.outcome.failure, Some(Failure::Other));
    let error = executed.outcome.error.unwrap();
    assert!(error.contains("delete snapshot ceph:disk-1@"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_a_warning_costs_nothing_else() {
    let (lab, executed) = after_a_failure(OnFailure::WARN).await;
    assert!(executed.stopped.is_none() && executed.outcome.failure.is_none());
    assert_eq!(lab.left(), (vec![0], vec![2]));
    let [warning] = &executed.outcome.warnings[..] else { panic!("{:?}", executed.outcome) };
    assert!(warning.contains("ceph:disk-1@") && warning.contains("the next run tries again"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_the_operation_judges_is_handed_to_it_and_fails_nobody() {
    let (lab, executed) = after_a_failure(OnFailure::TRY).await;
    assert!(executed.stopped.is_none() && executed.outcome.failure.is_none());
    assert_eq!(lab.left(), (vec![0], vec![2]));
    let StepResult::Failed(why) = &executed.results[&1] else { panic!("{:?}", executed.results) };
    assert!(why.contains("delete snapshot ceph:disk-1@"), "{why}");
    assert_eq!(executed.results[&2], StepResult::Done);
}

#[tokio::test(start_paused = true)]
async fn a_plan_goes_on_past_damage_and_past_nothing_else() {
    let lab = Lab::new().await;
    let step = meaning(OnFailure::PAST_DAMAGE, lab.delete(0).await);
    let items = [Item::Step(step.clone())];
    let group = || Group { items: &items, first: &step, ids: 0..1 };
    let execution = Arc::new(Execution {
        ctx: lab.ctx.clone(),
        plan: row([step.clone()]),
        held: Held::default(),
        state: Mutex::new(State::new(GuestOutcome::new(&plan(vec![]).guest))),
        stop: lab.cancel.child(),
    });
    let (path, why) = ("/r/daily/x".into(), "its digest is another one".to_owned());
    let damage = RepositoryError::Damaged { path, why };
    assert!(execution.after_failure(&group(), damage.into()).await.is_ok());
    let outcome = execution.take_outcome();
    assert_eq!(outcome.failure, Some(Failure::Damage));
    let other = Stopped::Failed(anyhow::anyhow!("the disk is full"));
    let ended = execution.after_failure(&group(), other).await;
    assert!(matches!(ended, Err(Stopped::Ended(Failure::Other, _))));
}

#[tokio::test(start_paused = true)]
async fn a_step_is_left_out_when_one_that_it_needs_failed_or_was_left_out() {
    let lab = Lab::new().await;
    let go_on = OnFailure::GO_ON;
    let steps = [
        meaning(go_on, lab.delete(0).await),
        needing(vec![0], meaning(go_on, lab.delete(1).await)),
        needing(vec![1], meaning(go_on, lab.delete(2).await)),
        meaning(go_on, lab.delete(3).await),
    ];
    lab.memory.inject(Operation::DeleteSnapshot, 1, Fault::Before);
    let executed = lab.run(row(steps)).await;
    assert!(executed.stopped.is_none());
    assert_eq!(lab.left(), (vec![], vec![3]));
}

/// Two snapshots that would be made at the same time: only one of them needs what failed.
#[tokio::test(start_paused = true)]
async fn what_one_step_needs_is_not_asked_of_its_neighbour() {
    let lab = Lab::new().await;
    for needing_first in [true, false] {
        let needs = |is_it: bool| if is_it { vec![0] } else { vec![] };
        let steps = [
            meaning(OnFailure::GO_ON, lab.delete(3).await),
            needing(needs(needing_first), lab.create(0)),
            needing(needs(!needing_first), lab.create(1)),
        ];
        lab.memory.inject(Operation::DeleteSnapshot, 1, Fault::Before);
        assert!(lab.run(row(steps)).await.stopped.is_none());
        let (made, _) = lab.left();
        assert_eq!(made, [usize::from(needing_first)]);
        lab.memory.remove_snapshot(&format!("disk-{}", made[0]), &new_name().to_string()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_a_plan_before_its_end_gets_back_what_was() {
    let lab = Lab::new().await;
    lab.at("created snapshot ceph:disk-0", Then::Stop(lab.cancel.clone()));
    let steps = [lab.create(0), lab.delete(1).await];
    let executed = lab.run(row(steps)).await;
    assert!(matches!(executed.stopped, Some(Stopped::Interrupted)));
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn who_stops_a_plan_after_its_commit_is_told_what_was_asked_for_and_not_done() {
    let lab = Lab::new().await;
    lab.at("all stands", Then::Stop(lab.cancel.clone()));
    let asked = |step: Step, asked| meaning(OnFailure::WARN, Step { asked: Some(asked), ..step });
    let in_scope = vec![Item::Step(asked(lab.create(3), "the last one"))];
    let items = vec![
        Item::Step(lab.create(0)),
        Item::Step(asked(lab.delete(1).await, "the deletion")),
        frozen(in_scope),
    ];
    let plan = Plan { whole_after: Some((0, "all stands")), ..plan(items) };
    let executed = lab.run(plan).await;
    assert!(executed.stopped.is_none());
    assert_eq!(lab.left(), (vec![0], vec![]), "what was made stays");
    let error = executed.outcome.error.unwrap();
    assert_eq!(executed.outcome.failure, Some(Failure::Interrupted));
    assert!(error.ends_with("not done: the deletion, the last one"), "{error}");
}
