//! Who the members of the restored cluster are: checked as etcd checks it, with the ids that etcd computes.
//!
//! Read from etcd server/config/config.go, client/pkg/types/urlsmap.go and server/etcdserver/api/membership/{member,cluster}.go
//! @ v3.6.14; the same since v3.4.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use serde::Serialize;

use super::RestoreWarning;
use super::urls::PeerUrl;

/// A new cluster as its administrator describes it, with the names that etcd's own flags have. Nothing is checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCluster {
    /// The name of the member that is restored: `--name`.
    pub name: String,
    /// All members, `name=URL` separated by commas; one with several URLs is there several times.
    pub initial_cluster: String,
    /// Makes the ids differ from those of another cluster with the same URLs.
    pub initial_cluster_token: String,
    /// The peer URLs of the member that is restored, separated by commas. They must be those that `initial_cluster` says;
    /// without them, they are.
    pub initial_advertise_peer_urls: Option<String>,
}

/// Why a cluster cannot be as it was described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// etcd would not accept a peer URL.
    #[error("{url:?} is no peer URL: {why}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A part of the initial cluster is not `name=URL`.
    #[error("{0:?} in the initial cluster is not name=URL")]
    NotAMember(String),
    /// The member that is restored is not in the initial cluster.
    #[error("member {name:?} is not in the initial cluster, which has {}", .members.join(", "))]
    NotInCluster {
        /// The name that was given.
        name: String,
        /// The names that there are.
        members: Vec<String>,
    },
    /// Two members, or one twice, have the same URL.
    #[error("peer URL {0} is in the initial cluster twice")]
    DuplicateUrl(String),
    /// The URLs that the member advertises are not those that the cluster knows it by. Names are not resolved: what
    /// is written in both places must be the same.
    #[error("member {name} advertises {advertised} but is {expected} in the initial cluster")]
    OtherUrls {
        /// The member's name.
        name: String,
        /// Its URLs in the initial cluster.
        expected: String,
        /// The URLs it is to advertise.
        advertised: String,
    },
    /// Two members come out with the same id, or one with the id 0.
    #[error("member id {0:x} cannot be used; another token gives other ids")]
    UnusableId(u64),
}

/// A member of the restored cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// The id that etcd computes from the URLs and the token.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its peer URLs, sorted.
    pub peer_urls: Vec<String>,
}

impl NewMember {
    /// As etcd records it: in bucket `members`, and in the entries of the log that add it.
    pub(super) fn record(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Record<'a> {
            id: u64,
            #[serde(rename = "peerURLs")]
            peer_urls: &'a [String],
            name: &'a str,
        }
        let record = Record { id: self.id, peer_urls: &self.peer_urls, name: &self.name };
        serde_json::to_vec(&record).expect("numbers and strings are always JSON")
    }
}

/// The members of the restored cluster, and which of them is restored here. Only [`NewCluster::validate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    cluster_id: u64,
    members: Vec<NewMember>,
    local: usize,
    warnings: Vec<RestoreWarning>,
}

impl Membership {
    /// The id of the cluster.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// All members, their ids rising. There is at least one.
    #[must_use]
    pub fn members(&self) -> &[NewMember] {
        &self.members
    }

    /// The member that is restored.
    #[must_use]
    pub fn local(&self) -> &NewMember {
        &self.members[self.local]
    }

    /// What is allowed but seldom meant: peer URLs that lead nowhere else, in a cluster of several members.
    #[must_use]
    pub fn warnings(&self) -> &[RestoreWarning] {
        &self.warnings
    }

    /// The index of the last entry of the new log: each member is added by one.
    pub(super) fn last_index(&self) -> u64 {
        self.members.len() as u64
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.members.iter().map(|member| member.id).collect()
    }
}

impl NewCluster {
    /// Checks the description as etcd does when it starts, but for one thing: names in URLs are not resolved, so the URLs
    /// that the member advertises must be written as in the initial cluster (apart from upper case and the spelling of IPv6
    /// addresses).
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub fn validate(&self) -> Result<Membership, MembershipError> {
        let named = self.members()?;
        check_unique(&named)?;
        let local = named.iter().find(|(name, _)| *name == self.name).ok_or_else(|| MembershipError::NotInCluster {
            name: self.name.clone(),
            members: named.iter().map(|(name, _)| name.clone()).collect(),
        })?;
        self.check_advertised(&local.1)?;

        let mut warnings = Vec::new();
        let mut members = Vec::new();
        for (name, urls) in &named {
            let local = urls.iter().filter(|url| named.len() > 1 && url.is_local());
            warnings
                .extend(local.map(|url| RestoreWarning::LocalPeerUrl { member: name.clone(), url: url.text.clone() }));
            let peer_urls: Vec<_> = urls.iter().map(|url| url.text.clone()).collect();
            members.push(NewMember { id: self.member_id(&peer_urls), name: name.clone(), peer_urls });
        }
        members.sort_by_key(|member| member.id);
        let mut before = 0;
        for member in &members {
            if member.id == before {
                return Err(MembershipError::UnusableId(member.id));
            }
            before = member.id;
        }
        let local = members.iter().position(|member| member.name == self.name).unwrap_or_default();
        let cluster_id = id(members.iter().map(|member| member.id.to_be_bytes()));
        Ok(Membership { cluster_id, members, local, warnings })
    }

    /// Names and URLs, both sorted.
    fn members(&self) -> Result<Vec<(String, Vec<PeerUrl>)>, MembershipError> {
        let mut given: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
        for part in self.initial_cluster.split(',').filter(|part| !part.is_empty()) {
            let (name, url) = part
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| MembershipError::NotAMember(part.to_owned()))?;
            given.entry(name).or_default().push(url);
        }
        given.into_iter().map(|(name, urls)| Ok((name.to_owned(), PeerUrl::parse_all(urls.into_iter())?))).collect()
    }

    fn check_advertised(&self, expected: &[PeerUrl]) -> Result<(), MembershipError> {
        let Some(given) = &self.initial_advertise_peer_urls else { return Ok(()) };
        let given = given.split(',').filter(|url| !url.is_empty());
        let advertised = PeerUrl::parse_all(given)?;
        let within = |some: &[PeerUrl], all: &[PeerUrl]| some.iter().all(|url| all.iter().any(|it| it.same_place(url)));
        if within(&advertised, expected) && within(expected, &advertised) {
            return Ok(());
        }
        let list = |urls: &[PeerUrl]| urls.iter().map(|url| url.text.as_str()).collect::<Vec<_>>().join(",");
        let (expected, advertised) = (list(expected), list(&advertised));
        Err(MembershipError::OtherUrls { name: self.name.clone(), expected, advertised })
    }

    fn member_id(&self, urls: &[String]) -> u64 {
        id(urls.iter().map(String::as_bytes).chain([self.initial_cluster_token.as_bytes()]))
    }
}

fn check_unique(named: &[(String, Vec<PeerUrl>)]) -> Result<(), MembershipError> {
    let urls: Vec<_> = named.iter().flat_map(|(_, urls)| urls).collect();
    let twice = urls.iter().enumerate().find(|(index, url)| urls[..*index].iter().any(|before| before.same_place(url)));
    twice.map_or(Ok(()), |(_, url)| Err(MembershipError::DuplicateUrl(url.text.clone())))
}

/// The first eight bytes of a SHA-1.
fn id(parts: impl Iterator<Item = impl AsRef<[u8]>>) -> u64 {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    parts.for_each(|part| context.update(part.as_ref()));
    context.finish().as_ref().iter().take(8).fold(0, |id, &byte| id << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, members: &str, token: &str, advertised: &str) -> NewCluster {
        let [name, initial_cluster, initial_cluster_token, initial_advertise_peer_urls] =
            [name, members, token, advertised].map(str::to_owned);
        let initial_advertise_peer_urls = Some(initial_advertise_peer_urls);
        NewCluster { name, initial_cluster, initial_cluster_token, initial_advertise_peer_urls }
    }

    fn three(name: &str, advertised: &str) -> Result<Membership, MembershipError> {
        let members = "m1=http://127.0.0.1:23811,m2=http://127.0.0.1:23821,m3=http://127.0.0.1:23831";
        cluster(name, members, "tok", advertised).validate()
    }

    /// Ids that etcd itself computed.
    #[test]
    fn ids_are_etcds() {
        for (members, token, member, cluster_id) in [
            ("m=http://localhost:2380", "etcd-cluster", 0x8e9e_05c5_2164_694d, 0xcdf8_1819_4e3a_8c32),
            ("m=http://127.0.0.1:23791", "etcd-cluster", 0xac7c_97ef_0ec1_93b0, 0x8cc9_da78_b36d_1115),
            ("m=http://127.0.0.1:23791", "tok", 0x8511_500b_6e16_e00c, 0x9dbc_1661_3338_75e7),
            ("m=http://10.0.0.1:7001,m=http://10.0.0.1:2380", "t", 0x5b08_c99e_773c_3b68, 0xa354_3b7e_310e_5c83),
        ] {
            let advertised = members.replace("m=", "");
            let membership = cluster("m", members, token, &advertised).validate().expect(members);
            assert_eq!((membership.local().id, membership.cluster_id()), (member, cluster_id), "{members}");
        }
        let membership = three("m1", "http://127.0.0.1:23811").expect("a cluster");
        let members: Vec<_> = membership.members().iter().map(|member| (member.name.as_str(), member.id)).collect();
        let expected = [("m3", 0x2f47_df6d_4fdf_da24), ("m1", 0x710a_7906_b60e_0340), ("m2", 0x945b_db73_32bc_af99)];
        assert_eq!(members, expected);
        assert_eq!(membership.local().name, "m1");
        assert_eq!(membership.cluster_id(), 0xc647_2525_fd23_001a);
    }

    #[test]
    fn a_record_as_etcd_writes_it() {
        let membership =
            cluster("default", "default=http://localhost:2380", "etcd-cluster", "http://localhost:2380").validate();
        let record = membership.expect("a cluster").local().record();
        let expected = r#"{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"name":"default"}"#;
        assert_eq!(String::from_utf8_lossy(&record), expected);
    }

    #[test]
    fn refused() {
        let refused = |members: &str, advertised: &str| {
            cluster("a", members, "t", advertised).validate().expect_err(members).to_string()
        };
        assert_eq!(refused("", "http://h:1"), r#"member "a" is not in the initial cluster, which has "#);
        assert_eq!(
            refused("b=http://h:1,c=http://i:1", "http://h:1"),
            r#"member "a" is not in the initial cluster, which has b, c"#
        );
        assert_eq!(refused("a", "http://h:1"), r#""a" in the initial cluster is not name=URL"#);
        assert_eq!(refused("=http://h:1", "http://h:1"), r#""=http://h:1" in the initial cluster is not name=URL"#);
        assert_eq!(
            refused("a=http://h:1,b=http://H:1", "http://h:1"),
            "peer URL http://H:1 is in the initial cluster twice"
        );
        assert_eq!(
            refused("a=http://h:1,a=http://h:2", "http://h:1"),
            "member a advertises http://h:1 but is http://h:1,http://h:2 in the initial cluster"
        );
        assert!(refused("a=http://h:1", "").starts_with("member a advertises  but is"));
        assert!(refused("a=http://h:1/", "http://h:1").starts_with(r#""http://h:1/" is no peer URL"#));
        assert!(refused("a=http://h:1", "h:1").starts_with(r#""h:1" is no peer URL"#));
    }

    #[test]
    fn spelling_does_not_matter_but_is_kept() {
        let membership = cluster("a", "a=HTTP://Host:1,", "t", " http://host:1").validate().expect("a cluster");
        assert_eq!(membership.local().peer_urls, ["http://Host:1"]);
    }

    #[test]
    fn local_urls_of_several_members() {
        let several = cluster("a", "a=http://localhost:1,b=http://h:1", "t", "http://localhost:1").validate();
        let expected = RestoreWarning::LocalPeerUrl { member: "a".to_owned(), url: "http://localhost:1".to_owned() };
        assert_eq!(several.expect("a cluster").warnings(), [expected]);
        let one = cluster("a", "a=http://localhost:1", "t", "http://localhost:1").validate();
        assert_eq!(one.expect("a cluster").warnings(), []);
    }
}
