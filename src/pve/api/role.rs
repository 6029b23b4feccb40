//! The least privileges for snapshots of guests: what they are, whether those in use suffice, and
//! the commands that grant them. Grants nothing itself.

use super::error::ApiError;
use super::request::Request;
use super::{Api, Way};
use serde_json::Value;

/// Without it `/cluster/resources` leaves out the pool of a guest (pve-manager 9.2).
const POOL_AUDIT: &str = "Pool.Audit";

/// What is needed where: guests are listed, read and snapshotted, storages are looked at.
pub const NEEDED: [(&str, &str, &str); 4] = [
    ("/vms", "VM.Audit", "without it PVE hides the guest"),
    ("/vms", "VM.Snapshot", "makes, removes and rolls back snapshots"),
    (
        "/storage",
        "Datastore.Audit",
        "shows how full a storage is; without it none is taken for full",
    ),
    ("/pool", POOL_AUDIT, "shows who is in a pool; a selection with @pool- needs it"),
];

/// One privilege that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Where it is needed.
    pub path: &'static str,
    /// Its name.
    pub privilege: &'static str,
    /// What for.
    pub why: &'static str,
}

impl Api {
    /// Which of the needed privileges the user or token has not.
    ///
    /// # Errors
    /// The request fails.
    pub async fn missing_privileges(&self) -> Result<Vec<Missing>, ApiError> {
        Ok(missing(&self.call(&Request::get("/access/permissions")).await?))
    }

    /// Which of these pools the user or token may not see, with the pools nested in them. On a node
    /// everything runs as root, who sees all.
    ///
    /// # Errors
    /// A request fails.
    pub async fn hidden_pools(&self, pools: &[&str]) -> Result<Vec<String>, ApiError> {
        let mut hidden = Vec::new();
        if matches!(self.way, Way::Pvesh(_)) {
            return Ok(hidden);
        }
        for pool in pools {
            let path = format!("/pool/{pool}");
            let request = Request::get("/access/permissions").with("path", path.as_str());
            if self.call(&request).await?[&path][POOL_AUDIT] != 1 {
                hidden.push((*pool).to_owned());
            }
        }
        Ok(hidden)
    }
}

/// The role that holds them. PVE keeps all names that begin with "PVE", in any case, for itself
/// (libpve-access-control 8.0.0), and refuses the whole command with such a one.
const ROLE: &str = "FerrySnapshot";

/// The commands that make role, user and token, to be run as root on a node.
pub fn commands() -> String {
    let mut privileges: Vec<&str> = NEEDED.iter().map(|(_, privilege, _)| *privilege).collect();
    privileges.sort_unstable();
    format!(
        "pveum role add {ROLE} --privs '{}'\n\
         pveum user add ferry-snapshot@pve --comment 'pve-ferry snapshot'\n\
         pveum acl modify / --users ferry-snapshot@pve --roles {ROLE}\n\
         pveum user token add ferry-snapshot@pve cron --privsep 0\n",
        privileges.join(" ")
    )
}

/// Paths that PVE names hold their privileges themselves; others have those of the path above.
fn missing(permissions: &Value) -> Vec<Missing> {
    let has = |path: &str, privilege: &str| match permissions.get(path) {
        Some(own) => own.get(privilege).is_some(),
        // Granted on / and handed down.
        None => permissions.get("/").is_some_and(|root| root[privilege] == 1),
    };
    let lacking = NEEDED.iter().filter(|(path, privilege, _)| !has(path, privilege));
    lacking.map(|&(path, privilege, why)| Missing { path, privilege, why }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn privileges_are_handed_down_where_they_propagate() {
        let all = json!({"VM.Audit": 1, "VM.Snapshot": 1, "Datastore.Audit": 1, "Pool.Audit": 1});
        assert_eq!(missing(&json!({"/": all})), []);
        let not_down =
            json!({"/": {"VM.Audit": 0, "VM.Snapshot": 1, "Datastore.Audit": 1, "Pool.Audit": 1}});
        assert_eq!(missing(&not_down)[0].privilege, "VM.Audit");
        let own = json!({"/": {"Datastore.Audit": 1, "Pool.Audit": 1}, "/vms": {"VM.Audit": 1, "VM.Snapshot": 0}});
        assert_eq!(missing(&own), []);
        assert_eq!(missing(&json!({})).len(), 4);
    }

    /// PVE's own checks: `PVE::AccessControl::verify_rolename`, and `PVE::API2::Role` since 8.0.
    fn pve_takes_as_role(name: &str) -> bool {
        let is_of_form = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let is_reserved = name.to_ascii_lowercase().starts_with("pve");
        !name.is_empty() && name.bytes().all(is_of_form) && !is_reserved
    }

    #[test]
    fn pve_makes_the_role_that_the_commands_name() {
        assert!(!pve_takes_as_role("PveFerrySnapshot") && !pve_takes_as_role("a b"));
        let text = commands();
        let named: Vec<&str> = text
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                let at = words.iter().position(|w| matches!(*w, "add" | "--roles"))?;
                (words[1] == "role" || words[at] == "--roles").then(|| words[at + 1])
            })
            .collect();
        assert_eq!(named, [ROLE; 2], "{text}");
        assert!(named.iter().all(|name| pve_takes_as_role(name)), "{text}");
    }

    #[test]
    fn the_commands_grant_what_is_needed_and_no_more() {
        assert!(
            commands().contains("--privs 'Datastore.Audit Pool.Audit VM.Audit VM.Snapshot'"),
            "{}",
            commands()
        );
    }
}
