//! What the cluster says of all its guests at once: which run. Not what a plan goes by: that is asked
//! of each guest on its own node, just before its turn.

use crate::model::VmId;
use crate::transport::{Command, Host, TransportError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The cluster's answer is made of what the nodes last told; it waits for none of them.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why nothing is known of the guests' states.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    /// `pvesh` failed, or is not here.
    #[error("cannot ask the cluster which guests run")]
    Command(#[source] TransportError),
    /// It answered something else than the documented list.
    #[error("cannot ask the cluster which guests run: its answer is not understood")]
    Answer(#[source] serde_json::Error),
}

#[derive(Debug, Deserialize)]
struct Resource {
    vmid: Option<u32>,
    status: Option<String>,
}

/// The states of all guests in PVE's words: `running`, `stopped`, or `unknown` where the guest's node
/// has not told for a while. Source: `GET /cluster/resources` of PVE's API.
///
/// # Errors
/// The cluster does not answer, or not as documented.
pub async fn guest_states(host: &Host) -> Result<BTreeMap<VmId, String>, ResourcesError> {
    let command = Command::reads("pvesh").args(["get", "/cluster/resources", "--type", "vm"]);
    let command = command.args(["--output-format", "json"]).deadline(DEADLINE);
    let output = host.run(&command).await.map_err(ResourcesError::Command)?;
    let found: Vec<Resource> =
        serde_json::from_slice(&output.stdout).map_err(ResourcesError::Answer)?;
    let state = |resource: Resource| Some((resource.vmid?.try_into().ok()?, resource.status?));
    Ok(found.into_iter().filter_map(state).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Answer, Script};

    const CALL: &str = "pvesh get /cluster/resources --type vm --output-format json";

    #[tokio::test]
    async fn states_are_those_of_the_clusters_list() {
        let script = Script::new();
        let answer = r#"[{"id":"qemu/100","vmid":100,"type":"qemu","status":"running","cpu":0.1},
            {"id":"lxc/101","vmid":101,"status":"unknown"},{"id":"qemu/102","vmid":102}]"#;
        script.on_exactly(CALL, Answer::prints(answer));
        let states = guest_states(&Host::Scripted(script.clone())).await.unwrap();
        let states: Vec<String> = states.iter().map(|(vmid, s)| format!("{vmid} {s}")).collect();
        assert_eq!(states, ["100 running", "101 unknown"]);
    }

    #[tokio::test]
    async fn no_answer_and_an_odd_one_are_errors() {
        let script = Script::new();
        let host = Host::Scripted(script.clone());
        script.on(CALL, Answer::fails(111, "ipcc_send_rec[1] failed: Connection refused\n"));
        assert!(matches!(guest_states(&host).await, Err(ResourcesError::Command(_))));
        script.on(CALL, Answer::prints("{}"));
        assert!(matches!(guest_states(&host).await, Err(ResourcesError::Answer(_))));
    }
}
