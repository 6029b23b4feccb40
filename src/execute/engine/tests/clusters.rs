//! Plans whose volumes are on another cluster: equal names are no equal things.

use super::lab::*;
use crate::execute::Stopped;
use crate::model::{ClusterRef, VolumeRef};
use crate::plan::{Action, Step, VolumeAction};
use crate::storage::Storage;
use crate::storage::memory::{Fault, Memory, Operation};

fn on(cluster: &str, n: usize) -> VolumeRef {
    let cluster = ClusterRef::Remote(cluster.parse().unwrap());
    VolumeRef { cluster, ..volume(n) }
}

/// Makes a snapshot on a volume of another cluster, which is what that one's is.
async fn create_on(cluster: &str, lab: &Lab, n: usize) -> Step {
    let far = Storage::Memory(lab.far.clone());
    let identity = far.volume(&volume(n).id.name).await.unwrap().unwrap().identity;
    let (volume, snapshot) = (on(cluster, n), new_name());
    Action::Volume(VolumeAction::CreateSnapshot { volume, identity, snapshot }).step()
}

/// What was made and deleted on it since it was set up.
fn acts(memory: &Memory) -> Vec<String> {
    let acts = |call: &String| call.contains("e-snapshot ");
    memory.calls().into_iter().filter(acts).skip(4).collect()
}

#[tokio::test(start_paused = true)]
async fn a_step_on_a_volume_of_another_cluster_acts_there_alone_and_is_taken_back_there() {
    let lab = Lab::new().await;
    let steps = [create_on("far", &lab, 0).await, lab.delete(1).await];
    lab.memory.inject(Operation::DeleteSnapshot, 1, Fault::Before);
    let (executed, events) = lab.events_of(row(steps)).await;
    assert!(matches!(executed.stopped, Some(Stopped::Failed(_))));
    assert_eq!(events, ["created snapshot //far/ceph:disk-0"]);
    let new = new_name();
    let made_and_gone = ["create", "delete"].map(|act| format!("{act}-snapshot ceph:disk-0@{new}"));
    assert_eq!(acts(&lab.far), made_and_gone);
    assert_eq!(acts(&lab.memory), [format!("delete-snapshot ceph:disk-1@{OLD}")]);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_known_here_is_named_and_nothing_is_done() {
    let lab = Lab::new().await;
    let executed = lab.run(row([create_on("nowhere", &lab, 0).await])).await;
    let Some(Stopped::Failed(error)) = executed.stopped else { panic!("it is done") };
    let text = format!("{error:#}");
    assert!(text.contains("no cluster is known here as nowhere"), "{text}");
    assert!(acts(&lab.memory).is_empty() && acts(&lab.far).is_empty());
}
