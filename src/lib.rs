//! pve-ferry: incremental backup, restore and replication of Proxmox VE guests.

pub mod model;
pub mod stream;

pub mod repository;
