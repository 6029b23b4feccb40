//! Guests and the clusters they live in. A vmid alone names no guest: it is given away again.

use super::{Invalid, serde_as_text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const INCARNATION_FORM: &str = "an incarnation (8 hexadecimal digits)";
const CLUSTER_ID_FORM: &str = "a cluster id (a UUID in lower case)";
const CLUSTER_NAME_FORM: &str = "a cluster name (letters, digits, - and _)";

/// PVE's number of a guest, 100 to 999999999 (PVE's `pve-vmid`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(extend("minimum" = 100, "maximum" = 999_999_999))]
pub struct VmId(u32);

impl VmId {
    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl From<VmId> for u32 {
    fn from(vmid: VmId) -> u32 {
        vmid.0
    }
}

impl TryFrom<u32> for VmId {
    type Error = Invalid;
    fn try_from(number: u32) -> Result<Self, Invalid> {
        if (100..=999_999_999).contains(&number) {
            return Ok(Self(number));
        }
        Err(Invalid::new(&number.to_string(), "a vmid (100 to 999999999)"))
    }
}

impl FromStr for VmId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, "a vmid (100 to 999999999)");
        if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        Self::try_from(text.parse::<u32>().map_err(|_| invalid())?).map_err(|_| invalid())
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

/// Whether a guest is a virtual machine or a container, in PVE's words.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine: configuration in `qemu-server/`, command `qm`.
    Qemu,
    /// A container: configuration in `lxc/`, command `pct`.
    Lxc,
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
        })
    }
}

/// A guest as the cluster shows it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its number.
    pub vmid: VmId,
    /// Virtual machine or container.
    pub kind: GuestKind,
    /// Its name or host name; empty when it has none.
    pub name: String,
    /// The node whose directory holds its configuration now.
    pub node: String,
}

/// What distinguishes a guest from an earlier one with the same vmid: 8 hexadecimal digits made
/// from what the guest itself carries (smbios uuid; root volume of a container).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u32);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for Incarnation {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let id: super::ChainId = text.parse().map_err(|_| Invalid::new(text, INCARNATION_FORM))?;
        Ok(Self(id.0))
    }
}

serde_as_text!(Incarnation, INCARNATION_FORM);

/// The cluster's id: a UUID made once, in lower-case text form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(String);

impl ClusterId {
    /// The first 8 hexadecimal digits: what stands in directory names.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl FromStr for ClusterId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fits = text.len() == 36
            && text.bytes().enumerate().all(|(i, b)| match i {
                8 | 13 | 18 | 23 => b == b'-',
                _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
            });
        if fits { Ok(Self(text.to_owned())) } else { Err(Invalid::new(text, CLUSTER_ID_FORM)) }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(ClusterId, CLUSTER_ID_FORM);

/// The cluster's name as corosync knows it; the node's name on a single node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

impl ClusterName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let fits = !text.is_empty()
            && text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if fits { Ok(Self(text.to_owned())) } else { Err(Invalid::new(text, CLUSTER_NAME_FORM)) }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(ClusterName, CLUSTER_NAME_FORM);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vmids_outside_of_pves_range_are_refused() {
        assert_eq!("100".parse::<VmId>().unwrap().number(), 100);
        for text in ["99", "0100", "+100", "1000000000", "", "1e3", " 100"] {
            assert!(text.parse::<VmId>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<VmId>("99").is_err());
    }

    #[test]
    fn a_cluster_id_is_a_uuid() {
        let id: ClusterId = "0f1e2d3c-0000-4000-8000-000000000001".parse().unwrap();
        assert_eq!(id.short(), "0f1e2d3c");
        assert!("0f1e2d3c".parse::<ClusterId>().is_err());
    }
}
