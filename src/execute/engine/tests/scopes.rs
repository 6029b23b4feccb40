//! Scopes: they open in their order and are closed whatever happens in them.

use super::lab::*;
use crate::execute::Stopped;
use crate::plan::{Item, OnFailure, Plan};
use crate::storage::memory::{Fault, Operation};
/// `+0` and then `+1` in a scope of its own, both in a scope, and `-2` behind it.
async fn nested(lab: &Lab) -> Plan {
    let inner = frozen(vec![Item::Step(lab.create(1))]);
    let outer = frozen(vec![Item::Step(lab.create(0)), inner]);
    plan(vec![outer, Item::Step(lab.delete(2).await)])
}

#[tokio::test(start_paused = true)]
async fn a_scope_in_a_scope_opens_after_it_and_closes_before_it() {
    let lab = Lab::new().await;
    let plan = nested(&lab).await;
    let (executed, events) = lab.events_of(plan).await;
    assert!(executed.stopped.is_none(), "{:?}", executed.stopped);
    assert_eq!(events, ["freeze", "+0", "freeze", "+1", "thaw", "thaw", "-2"]);
}

#[tokio::test(start_paused = true)]
async fn every_open_scope_is_closed_when_a_step_in_it_fails() {
    let lab = Lab::new().await;
    lab.memory.inject(Operation::CreateSnapshot, 2, Fault::Before);
    let plan = nested(&lab).await;
    let (executed, events) = lab.events_of(plan).await;
    assert!(matches!(executed.stopped, Some(Stopped::Failed(_))), "{:?}", executed.stopped);
    assert_eq!(events, ["freeze", "+0", "freeze", "thaw", "thaw"]);
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn every_open_scope_is_closed_when_a_step_in_it_panics_or_the_user_stops_it() {
    for stops in [false, true] {
        let lab = Lab::new().await;
        let then = if stops { Then::Stop(lab.cancel.clone()) } else { Then::Panic };
        lab.at("created snapshot ceph:disk-1", then);
        let plan = nested(&lab).await;
        let (executed, events) = lab.events_of(plan).await;
        let stopped = executed.stopped.unwrap();
        assert_eq!(matches!(stopped, Stopped::Interrupted), stops, "{stopped:?}");
        assert_eq!(events, ["freeze", "+0", "freeze", "+1", "thaw", "thaw"]);
        assert_eq!(lab.left(), (vec![], vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_of_which_no_step_can_be_done_is_not_opened() {
    let lab = Lab::new().await;
    let failing = meaning(OnFailure::GO_ON, lab.delete(3).await);
    let scope = |needs: Vec<usize>| frozen(vec![Item::Step(needing(needs, lab.create(0)))]);
    lab.memory.inject(Operation::DeleteSnapshot, 1, Fault::Before);
    let (_, events) = lab.events_of(plan(vec![Item::Step(failing), scope(vec![0])])).await;
    assert_eq!(events, [""; 0]);
    let (_, events) = lab.events_of(plan(vec![frozen(vec![frozen(vec![])])])).await;
    assert_eq!(events, [""; 0], "a scope without steps holds nothing to open it for");
}

/// A step that may fail without harm stands first in the scope; the one behind it may not.
#[tokio::test(start_paused = true)]
async fn each_failure_in_a_scope_means_what_its_own_step_says() {
    let lab = Lab::new().await;
    let harmless = Item::Step(meaning(OnFailure::WARN, lab.create(0)));
    let scope = frozen(vec![harmless, Item::Step(lab.create(1))]);
    lab.memory.inject(Operation::CreateSnapshot, 2, Fault::Before);
    let plan = plan(vec![scope, Item::Step(lab.delete(2).await)]);
    let (executed, events) = lab.events_of(plan).await;
    assert!(matches!(executed.stopped, Some(Stopped::Failed(_))), "{:?}", executed.stopped);
    assert_eq!(events, ["freeze", "+0", "thaw"]);
}
