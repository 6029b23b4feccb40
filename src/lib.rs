//! pve-ferry: incremental backup, restore and replication of Proxmox VE guests.

pub mod model;
pub mod plan;
pub mod report;
