//! The resource pools in `user.cfg`. Not for users, groups and permissions, which stand there too.

use super::guest_config::split_list;
use crate::model::VmId;

/// A pool and the guests in it; those of nested pools are not repeated here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its path: `web`, or `web/shop` for a nested pool.
    pub name: String,
    /// Its guests.
    pub guests: Vec<VmId>,
    /// Its storages.
    pub storages: Vec<String>,
}

/// All pools of a `user.cfg`: lines `pool:NAME:COMMENT:VMIDS:STORAGES:`
/// (`PVE::AccessControl::parse_user_config`). Anything else is passed over.
pub fn parse_pools(text: &str) -> Vec<Pool> {
    text.lines().filter_map(pool).collect()
}

/// The names of the pools that hold a guest.
pub fn pools_of(pools: &[Pool], vmid: VmId) -> Vec<String> {
    let holding = pools.iter().filter(|pool| pool.guests.contains(&vmid));
    holding.map(|pool| pool.name.clone()).collect()
}

fn pool(line: &str) -> Option<Pool> {
    let mut fields = line.trim().split(':').map(str::trim);
    let name = (fields.next()? == "pool").then(|| fields.next()).flatten()?;
    let _comment = fields.next();
    let guests = split_list(fields.next().unwrap_or_default());
    let guests = guests.filter_map(|vmid| vmid.parse().ok()).collect();
    let storages = split_list(fields.next().unwrap_or_default()).map(str::to_owned).collect();
    (!name.is_empty()).then(|| Pool { name: name.to_owned(), guests, storages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_and_nested_pools_are_found() {
        let text = "user:root@pam:1:0:::a@b::\n\npool:web:Shop%3A caf%C3%A9:100,101:ceph,local:\n\
                    pool:web/db::102::\n pool : empty:\npool::x:103::\n\
                    acl:1:/pool/web:root@pam:Administrator:\n";
        let pools = parse_pools(text);
        let names: Vec<_> = pools.iter().map(|pool| pool.name.as_str()).collect();
        assert_eq!(names, ["web", "web/db", "empty"]);
        assert_eq!(pools[0].storages, ["ceph", "local"]);
        let vmid = |text: &str| text.parse::<VmId>().unwrap();
        assert_eq!(pools_of(&pools, vmid("101")), ["web"]);
        assert_eq!(pools_of(&pools, vmid("102")), ["web/db"]);
        assert!(pools_of(&pools, vmid("103")).is_empty());
    }

    #[test]
    fn a_number_that_is_no_vmid_is_passed_over() {
        let pools = parse_pools("pool:a::99,x,100;101 102::\n");
        assert_eq!(pools[0].guests.len(), 3);
    }
}
