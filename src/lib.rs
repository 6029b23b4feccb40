//! pve-ferry: incremental backup, restore and replication of Proxmox VE guests.

pub mod model;

pub mod clock;
pub mod entropy;

pub mod transport;

pub mod storage;
