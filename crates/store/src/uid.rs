//! Whose a backup is.

use std::fmt;
use std::str::FromStr;

/// The UID of namespace kube-system, which a cluster keeps for life: 36 characters, lower case, as the API server writes it.
///
/// The one identity of a cluster. IDs of etcd are no identity: a member whose data was wiped may come up with the same ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterUid(String);

/// A text that is no UID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the UID of a cluster: expected 36 characters as in 5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d")]
pub struct UidError(String);

impl ClusterUid {
    /// The UID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterUid {
    type Err = UidError;

    fn from_str(text: &str) -> Result<Self, UidError> {
        let groups: Vec<&str> = text.split('-').collect();
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let whole = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
            && groups.iter().all(|group| group.bytes().all(hex));
        if whole { Ok(ClusterUid(text.to_owned())) } else { Err(UidError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for ClusterUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_api_server_writes_is_a_uid() {
        let good = "5f0c2a3e-9f4b-4b0e-8f0e-0d6a4b1f2c3d";
        assert_eq!(good.parse::<ClusterUid>().unwrap().as_str(), good);
        for bad in [
            "",
            "latest",
            "5F0C2A3E-9f4b-4b0e-8f0e-0d6a4b1f2c3d",
            "5f0c2a3e9f4b4b0e8f0e0d6a4b1f2c3d",
            "../../../../etc/passwd/0d6a4b1f2c3dxx",
        ] {
            assert!(bad.parse::<ClusterUid>().is_err(), "{bad}");
        }
    }
}
