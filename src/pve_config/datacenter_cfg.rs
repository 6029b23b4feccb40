//! `datacenter.cfg`: what the whole cluster has in common. Of it we need the prefix of network
//! addresses only.

/// The beginning of the network addresses that are made up for guests (`mac_prefix`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacPrefix(Vec<u8>);

impl Default for MacPrefix {
    /// What the IEEE assigned to Proxmox, PVE's default (`DataCenterConfig.pm`).
    fn default() -> Self {
        Self(vec![0xbc, 0x24, 0x11])
    }
}

impl MacPrefix {
    /// The prefix that the text of `datacenter.cfg` says; the default one when it says none or one
    /// that PVE would refuse: one to three bytes with colons between, the first no multicast address.
    pub fn parse(text: &str) -> Self {
        let value = text.lines().rev().find_map(|line| line.strip_prefix("mac_prefix:"));
        value.and_then(|value| Self::of(value.trim())).unwrap_or_default()
    }

    fn of(text: &str) -> Option<Self> {
        let digits = text.strip_suffix(':').unwrap_or(text).split(':');
        let byte = |digits: &str| match digits.len() {
            2 => u8::from_str_radix(digits, 16).ok(),
            _ => None,
        };
        let bytes: Vec<u8> = digits.map(byte).collect::<Option<_>>()?;
        let is_multicast = bytes.first().is_some_and(|first| first & 1 == 1);
        ((1..=3).contains(&bytes.len()) && !is_multicast).then_some(Self(bytes))
    }

    /// An address that begins so; none when the random source ends before it is whole.
    pub fn address(&self, random: &mut dyn Iterator<Item = u8>) -> Option<String> {
        let mut bytes = self.0.clone();
        while bytes.len() < 6 {
            bytes.push(random.next()?);
        }
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        Some(bytes.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_begin_as_the_cluster_says() {
        let address = |text: &str| MacPrefix::parse(text).address(&mut (1..)).unwrap();
        assert_eq!(address("keyboard: de\nmac_prefix: 02:ab:CD\n"), "02:AB:CD:01:02:03");
        assert_eq!(address("mac_prefix: 02\n"), "02:01:02:03:04:05");
        assert_eq!(address("mac_prefix: 02:AB:\n"), "02:AB:01:02:03:04");
        for other in [
            "",
            "keyboard: de\n",
            "mac_prefix: 03:AB:CD\n",
            "mac_prefix: 2\n",
            "mac_prefix: 02:AB:CD:EF\n",
        ] {
            assert_eq!(address(other), "BC:24:11:01:02:03", "{other}");
        }
        assert_eq!(MacPrefix::default().address(&mut [1, 2].into_iter()), None);
    }
}
