//! Who does it, for the system's log: the login that the kernel keeps across su and sudo, and the user
//! that we run as. Proves nothing: root can be anybody.

use nix::unistd::{Uid, User, getuid};

/// `anna (as root)`, or `root` where nobody else logged in, as for cron.
pub fn who() -> String {
    let kept = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    words(login(&kept), getuid(), &name)
}

/// The user that logged in. The kernel writes the highest number for nobody (proc_pid_loginuid(5)).
fn login(kept: &str) -> Option<Uid> {
    kept.trim().parse().ok().filter(|uid| *uid != u32::MAX).map(Uid::from_raw)
}

fn name(uid: Uid) -> String {
    let user = User::from_uid(uid).ok().flatten();
    user.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

fn words(login: Option<Uid>, now: Uid, name: &dyn Fn(Uid) -> String) -> String {
    match login.filter(|login| *login != now) {
        Some(login) => format!("{} (as {})", name(login), name(now)),
        None => name(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_logged_in_is_named_beside_who_they_are_now() {
        let name = |uid: Uid| if uid.is_root() { "root".to_owned() } else { "anna".to_owned() };
        let said = |kept| words(login(kept), Uid::from_raw(0), &name);
        assert_eq!(said("1000\n"), "anna (as root)");
        assert_eq!(said("0\n"), "root");
        assert_eq!(said("4294967295"), "root");
        assert_eq!(said(""), "root");
    }
}
