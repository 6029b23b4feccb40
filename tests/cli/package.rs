//! What the package's scripts and units say, without a package being built: `tests/deb` does that.

use std::fs;
use std::path::Path;
use std::process::Command;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn a_purge_takes_every_cron_file_that_was_edited_and_nothing_else_of_cron() {
    let home = tempfile::tempdir().unwrap();
    let (cron, state) = (home.path().join("cron.d"), home.path().join("lib"));
    fs::create_dir_all(&cron).unwrap();
    fs::create_dir_all(state.join("jobs")).unwrap();
    let names = ["pve-ferry", "pve-ferry.edited", "pve-ferry.edited.2", "pve-ferry.edited.100"];
    for name in names.iter().chain(&["vzdump", "pve-ferry-of-mine"]) {
        fs::write(cron.join(name), "").unwrap();
    }
    let script = file("debian/postrm").replace("/etc/cron.d", cron.to_str().unwrap());
    let script = script.replace("/var/lib/pve-ferry", state.to_str().unwrap());
    let purge = |word: &str| {
        let ended = Command::new("sh").args(["-c", &script, "postrm", word]).status().unwrap();
        assert!(ended.success());
    };
    purge("remove");
    assert!(names.iter().all(|name| cron.join(name).exists()) && state.exists());
    purge("purge");
    let mut left: Vec<_> =
        fs::read_dir(&cron).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["pve-ferry-of-mine", "vzdump"]);
    assert!(!state.exists());
}

#[test]
fn the_hardened_units_let_postfix_look_at_the_addresses_of_the_machine() {
    for unit in ["verify", "prune"] {
        let text = file(&format!("systemd/pve-ferry-{unit}@.service"));
        let line = text.lines().find(|line| line.starts_with("RestrictAddressFamilies=")).unwrap();
        for family in ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"] {
            assert!(line.split(['=', ' ']).any(|word| word == family), "{unit}: {line}");
        }
    }
}

#[test]
fn the_package_and_the_units_give_the_state_directory_the_same_mode() {
    assert!(file("debian/rules").contains("chmod 750 debian/pve-ferry/var/lib/pve-ferry\n"));
    for unit in ["verify", "prune"] {
        let text = file(&format!("systemd/pve-ferry-{unit}@.service"));
        assert!(text.contains("StateDirectoryMode=0750\n"), "{unit}");
    }
}
