//! The one door to a cluster's guests: where they are, how they are configured, how they are started and
//! asked. Today behind it are the cluster's files and PVE's commands on the nodes; whoever asks is not to
//! see the difference when a cluster is reached by other means. Not for writing configurations.

use super::Cluster;
use crate::model::{Guest, VmId};
use crate::pve::{FilesError, GuestConfig, GuestControl};

impl Cluster {
    /// The guest that has the vmid now, and its node; none when nobody has it.
    ///
    /// # Errors
    /// The cluster's files cannot be read.
    pub async fn guest(&self, vmid: VmId) -> Result<Option<Guest>, FilesError> {
        self.files.find(vmid)
    }

    /// All guests with their configurations, in the order of node and vmid.
    ///
    /// # Errors
    /// The cluster's files cannot be read.
    pub async fn guests(&self) -> Result<Vec<(Guest, GuestConfig)>, FilesError> {
        self.files.guests_with_configs()
    }

    /// A guest's configuration, every byte of it.
    ///
    /// # Errors
    /// It is gone from its node, or cannot be read.
    pub async fn config(&self, guest: &Guest) -> Result<String, FilesError> {
        self.files.read_config(guest)
    }

    /// A guest's firewall file; none when it has none.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub async fn firewall(&self, vmid: VmId) -> Result<Option<String>, FilesError> {
        self.files.read_firewall(vmid)
    }

    /// How a guest is asked for its state, started, and told of new volumes, on the node that has it.
    /// Asks nobody.
    pub fn control(&self, guest: &Guest) -> GuestControl {
        let host = self.hosts.host(&guest.node);
        GuestControl { host, kind: guest.kind, vmid: guest.vmid }
    }
}
