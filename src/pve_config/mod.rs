//! The texts of PVE's configurations as values: parsed without loss, edited, printed. Pure; where the
//! files are, `pve` knows.

pub mod config_volume;
pub mod datacenter_cfg;
pub mod guest_config;
pub mod property_string;

pub use config_volume::{ConfigVolume, Inclusion, is_exclusion};
pub use datacenter_cfg::MacPrefix;
pub use guest_config::GuestConfig;
pub use property_string::PropertyString;
