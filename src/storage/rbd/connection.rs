//! How a client reaches a cluster, in the words of `rbd`, of `ceph` and of librados. Does not
//! connect, and knows neither pools nor storage.cfg.

/// What a Ceph client must know before it can ask anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The configuration file.
    pub conf: Option<String>,
    /// The monitors, where no file names them, as librados reads them.
    pub monitors: Option<String>,
    /// The user, with its type: `client.admin`.
    pub user: String,
    /// The file with the user's key.
    pub keyring: Option<String>,
}

impl Connection {
    /// The options of `rbd` and `ceph`.
    pub(super) fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut flag = |name: &str, value: &str| flags.extend([name.to_owned(), value.to_owned()]);
        if let Some(conf) = &self.conf {
            flag("-c", conf);
        }
        if let Some(monitors) = &self.monitors {
            flag("-m", monitors);
        }
        flag("-n", &self.user);
        match &self.keyring {
            Some(keyring) => flag("--keyring", keyring),
            None if self.has_no_authentication() => flag("--auth_supported", "none"),
            None => {}
        }
        flags
    }

    /// The options of our own `ask-ceph`.
    pub(super) fn words(&self) -> Vec<String> {
        let pairs = [
            ("--conf", self.conf.as_ref()),
            ("--monitors", self.monitors.as_ref()),
            ("--user", Some(&self.user)),
            ("--keyring", self.keyring.as_ref()),
        ];
        let given = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
        given.flat_map(|(name, value)| [name.to_owned(), value.clone()]).collect()
    }

    /// The same as options of Ceph's configuration; user and file are given otherwise.
    pub(super) fn options(&self) -> Vec<(&str, &str)> {
        let monitors = self.monitors.as_deref().map(|monitors| ("mon_host", monitors));
        let mut options: Vec<(&str, &str)> = monitors.into_iter().collect();
        options.extend(self.keyring.as_deref().map(|keyring| ("keyring", keyring)));
        if self.has_no_authentication() {
            options.push(("auth_supported", "none"));
        }
        options
    }

    /// As PVE: an external cluster without a key takes no authentication. A configuration file may
    /// name a keyring, so it decides where there is one.
    fn has_no_authentication(&self) -> bool {
        self.keyring.is_none() && self.conf.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_in_say_the_same() {
        let connection = Connection {
            conf: None,
            monitors: Some("192.0.2.1".into()),
            user: "client.pve".into(),
            keyring: None,
        };
        let flags = ["-m", "192.0.2.1", "-n", "client.pve", "--auth_supported", "none"];
        assert_eq!(connection.flags(), flags);
        let options = [("mon_host", "192.0.2.1"), ("auth_supported", "none")];
        assert_eq!(connection.options(), options);
        let keyring = Some("/k".to_owned());
        let with_key =
            Connection { conf: Some("/c".into()), monitors: None, keyring, ..connection };
        assert_eq!(with_key.flags(), ["-c", "/c", "-n", "client.pve", "--keyring", "/k"]);
        assert_eq!(with_key.options(), [("keyring", "/k")]);
    }
}
