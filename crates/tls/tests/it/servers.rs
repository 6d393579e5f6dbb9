//! Servers' certificates on curves that ring knows.

use etcd_tls::Refusal;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use crate::pki::{Pair, authority, named, server, tampered, with};
use crate::server::{pkcs8, shake};

type Der = CertificateDer<'static>;

#[track_caller]
fn accepted(server: &Pair, others: &[&Der], anchors: &[&Der]) {
    for host in ["localhost", "127.0.0.1"] {
        let chain: Vec<&Der> = [&server.der].into_iter().chain(others.iter().copied()).collect();
        let shaken = shake(&chain, pkcs8(&server.key.serialize_der()), anchors, host);
        assert!(shaken.is_ok(), "{host}: {shaken:?}");
    }
}

#[track_caller]
fn refused(server: &Pair, others: &[&Der], anchors: &[&Der]) -> Refusal {
    refused_at("localhost", server, others, anchors)
}

#[track_caller]
fn refused_at(host: &str, server: &Pair, others: &[&Der], anchors: &[&Der]) -> Refusal {
    let chain: Vec<&Der> = [&server.der].into_iter().chain(others.iter().copied()).collect();
    let error = shake(&chain, pkcs8(&server.key.serialize_der()), anchors, host).expect_err("a refusal");
    Refusal::of(&error).unwrap_or_else(|| panic!("{error}")).clone()
}

/// With CA:TRUE, as `openssl req -x509` makes them.
fn server_and_authority() -> CertificateParams {
    with(server(), |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
}

#[test]
fn ordinary_chains() {
    let ca = Pair::own(authority("ca"));
    let middle = ca.issue(authority("middle"));
    let below = middle.issue(server());
    accepted(&ca.issue(server()), &[], &[&ca.der]);
    accepted(&below, &[&middle.der], &[&ca.der]);
    accepted(&below, &[&ca.der, &middle.der], &[&ca.der]);
    // An intermediate authority among the anchors is enough, as in Go.
    accepted(&below, &[], &[&middle.der]);

    assert!(matches!(refused(&below, &[], &[&ca.der]), Refusal::UnknownIssuer { .. }));
    let stranger = Pair::own(authority("stranger"));
    assert!(matches!(refused(&below, &[&middle.der, &ca.der], &[&stranger.der]), Refusal::UnknownIssuer { .. }));
    let namesake = Pair::own(authority("ca"));
    assert!(matches!(refused(&ca.issue(server()), &[], &[&namesake.der]), Refusal::WrongSignature { .. }));
    let mut changed = ca.issue(server());
    changed.der = tampered(&changed.der);
    assert!(matches!(refused(&changed, &[], &[&ca.der]), Refusal::WrongSignature { .. }));
}

#[test]
fn self_signed() {
    for params in [server(), server_and_authority(), with(server(), |params| params.is_ca = IsCa::ExplicitNoCa)] {
        let own = Pair::own(params.clone());
        accepted(&own, &[], &[&own.der]);
        // Another with the same names is another.
        let other = Pair::own(params);
        refused(&own, &[], &[&other.der]);
        assert!(matches!(refused_at("other", &own, &[], &[&own.der]), Refusal::OtherNames { .. }));
        assert!(matches!(refused_at("127.0.0.2", &own, &[], &[&own.der]), Refusal::OtherNames { .. }));
        let mut changed = own;
        let anchor = changed.der.clone();
        changed.der = tampered(&anchor);
        refused(&changed, &[], &[&anchor]);
    }
}

#[test]
fn an_authority_that_is_a_server_too() {
    let ca = Pair::own(authority("ca"));
    let leaf = ca.issue(server_and_authority());
    accepted(&leaf, &[], &[&ca.der]);
    let middle = ca.issue(authority("middle"));
    accepted(&middle.issue(server_and_authority()), &[&middle.der], &[&ca.der]);

    assert!(matches!(refused_at("other", &leaf, &[], &[&ca.der]), Refusal::OtherNames { .. }));
    let stranger = Pair::own(authority("ca"));
    assert!(matches!(refused(&leaf, &[], &[&stranger.der]), Refusal::WrongSignature { .. }));
    let clients = with(server_and_authority(), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert!(matches!(refused(&ca.issue(clients), &[], &[&ca.der]), Refusal::NotForServers { .. }));
}

#[test]
fn a_pinned_certificate_vouches_for_itself_alone() {
    let ca = Pair::own(authority("an unknown authority"));
    let pinned = ca.issue(server());
    accepted(&pinned, &[], &[&pinned.der]);
    accepted(&pinned, &[&ca.der], &[&pinned.der]);

    assert!(matches!(refused(&ca.issue(server()), &[], &[&pinned.der]), Refusal::UnknownIssuer { .. }));
    // Whoever has its key cannot make others: it is no authority. webpki alone would take this.
    assert!(matches!(refused(&pinned.issue(server()), &[], &[&pinned.der]), Refusal::NoAuthority { .. }));
    assert!(matches!(refused(&pinned.issue(server()), &[&pinned.der], &[&ca.der]), Refusal::NoAuthority { .. }));
    let clients = with(server(), |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let clients = ca.issue(clients);
    assert!(matches!(refused(&clients, &[], &[&clients.der]), Refusal::NotForServers { .. }));
}

#[test]
fn issuers_may_issue() {
    let ca = Pair::own(authority("ca"));
    let no_authority = with(named("middle"), |params| params.is_ca = IsCa::ExplicitNoCa);
    let no_constraints = named("middle");
    let no_signing = with(authority("middle"), |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    for params in [no_authority, no_constraints, no_signing] {
        let middle = ca.issue(params.clone());
        for leaf in [server(), server_and_authority()] {
            let leaf = middle.issue(leaf);
            assert!(matches!(refused(&leaf, &[&middle.der], &[&ca.der]), Refusal::NoAuthority { .. }));
            // No more as an anchor.
            assert!(matches!(refused(&leaf, &[], &[&middle.der]), Refusal::NoAuthority { .. }));
        }
        let root = Pair::own(params);
        assert!(matches!(refused(&root.issue(server()), &[], &[&root.der]), Refusal::NoAuthority { .. }));
    }
    let clients = with(authority("clients"), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let (root, middle) = (Pair::own(clients.clone()), ca.issue(clients));
    assert!(matches!(refused(&root.issue(server()), &[], &[&root.der]), Refusal::NotForServers { .. }));
    assert!(matches!(refused(&middle.issue(server()), &[&middle.der], &[&ca.der]), Refusal::NotForServers { .. }));
}

#[test]
fn path_lengths_are_kept() {
    let limited =
        |length| with(authority("ca"), |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length)));
    let ca = Pair::own(limited(0));
    accepted(&ca.issue(server()), &[], &[&ca.der]);
    accepted(&ca.issue(server_and_authority()), &[], &[&ca.der]);
    let middle = ca.issue(authority("middle"));
    for leaf in [server(), server_and_authority()] {
        assert!(matches!(refused(&middle.issue(leaf), &[&middle.der], &[&ca.der]), Refusal::PathTooLong { .. }));
    }
    let ca = Pair::own(limited(1));
    let middle = ca.issue(authority("middle"));
    accepted(&middle.issue(server()), &[&middle.der], &[&ca.der]);
}

#[test]
fn everything_on_the_way_is_valid_now() {
    let over = |params| with(params, |params| params.not_after = date_time_ymd(2001, 2, 3));
    let to_come = |params| with(params, |params| params.not_before = date_time_ymd(3001, 2, 3));
    let (over, to_come): (&dyn Fn(_) -> _, &dyn Fn(_) -> _) = (&over, &to_come);
    for (change, text) in
        [(over, "expired on 2001-02-03T00:00:00Z"), (to_come, "not valid before 3001-02-03T00:00:00Z")]
    {
        for leaf in [server(), server_and_authority()] {
            let ca = Pair::own(authority("ca"));
            let says = |refusal: Refusal| assert!(refusal.to_string().contains(text), "{refusal}");
            says(refused(&ca.issue(change(leaf.clone())), &[], &[&ca.der]));
            let own = Pair::own(change(leaf.clone()));
            says(refused(&own, &[], &[&own.der]));
            let middle = ca.issue(change(authority("middle")));
            says(refused(&middle.issue(leaf.clone()), &[&middle.der], &[&ca.der]));
            // An anchor, too.
            let ca = Pair::own(change(authority("ca")));
            says(refused(&ca.issue(leaf), &[], &[&ca.der]));
        }
    }
}

#[test]
fn names_are_subject_alternative_names() {
    let ca = Pair::own(authority("ca"));
    let bare = ca.issue(with(server(), |params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    }));
    for anchor in [&ca.der, &bare.der] {
        let refusal = refused(&bare, &[], &[anchor]);
        assert!(matches!(refusal, Refusal::NoNames { .. }));
        let text = refusal.to_string();
        assert!(
            text.contains("no subject alternative name") && text.contains("a common name does not count"),
            "{text}"
        );
    }
    let names = |names: &[&str]| {
        let names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        ca.issue(with(server_and_authority(), |params| params.subject_alt_names = names))
    };
    let wild = names(&["*.example.com", "x"]);
    shake(&[&wild.der], pkcs8(&wild.key.serialize_der()), &[&ca.der], "etcd.example.com").unwrap();
    for host in ["example.com", "a.b.example.com", "127.0.0.1", "localhost"] {
        let refusal = refused_at(host, &wild, &[], &[&ca.der]);
        assert_eq!(refusal.to_string(), format!("the server's certificate is for *.example.com, x, not for {host}"));
    }
    // An address written as a name is a name.
    assert!(matches!(refused_at("127.0.0.1", &names(&["127.0.0.1"]), &[], &[&ca.der]), Refusal::OtherNames { .. }));
}

#[test]
fn name_constraints_and_critical_extensions_are_never_passed_over() {
    let constrained = |name: &str| {
        with(authority("ca"), |params| {
            let permitted_subtrees = vec![GeneralSubtree::DnsName(name.to_owned())];
            params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        })
    };
    let only_name = |params| {
        with(params, |params: &mut CertificateParams| {
            params.subject_alt_names.truncate(1);
        })
    };
    let (good, bad) = (Pair::own(constrained("localhost")), Pair::own(constrained("example.com")));
    let leaf = good.issue(only_name(server()));
    shake(&[&leaf.der], pkcs8(&leaf.key.serialize_der()), &[&good.der], "localhost").unwrap();
    for (ca, leaf) in [(&bad, server()), (&bad, server_and_authority()), (&good, server_and_authority())] {
        let leaf = ca.issue(only_name(leaf));
        assert!(matches!(refused(&leaf, &[], &[&ca.der]), Refusal::NameConstraints { .. }));
    }
    let unknown = || {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        vec![extension]
    };
    let ca = Pair::own(authority("ca"));
    for leaf in [server(), server_and_authority()] {
        let leaf = ca.issue(with(leaf, |params| params.custom_extensions = unknown()));
        for anchor in [&ca.der, &leaf.der] {
            let refusal = refused(&leaf, &[], &[anchor]);
            assert!(matches!(&refusal, Refusal::CriticalExtension { oid, .. } if oid == "1.2.3.4"), "{refusal}");
        }
    }
    let ca = Pair::own(with(authority("ca"), |params| params.custom_extensions = unknown()));
    assert!(matches!(refused(&ca.issue(server()), &[], &[&ca.der]), Refusal::CriticalExtension { .. }));
}

#[test]
fn a_certificate_without_its_key_is_worth_nothing() {
    let ca = Pair::own(authority("ca"));
    for leaf in [server(), server_and_authority()] {
        let (leaf, thief) = (ca.issue(leaf), Pair::own(server()));
        for anchor in [&ca.der, &leaf.der] {
            let error = shake(&[&leaf.der], pkcs8(&thief.key.serialize_der()), &[anchor], "localhost").unwrap_err();
            assert_eq!(error, rustls::CertificateError::BadSignature.into());
        }
    }
}

#[test]
fn many_namesakes_end() {
    let namesakes: Vec<Pair> = (0..12).map(|_| Pair::own(authority("ca"))).collect();
    let all: Vec<&Der> = namesakes.iter().flat_map(|pair| std::iter::repeat_n(&pair.der, 10)).collect();
    let leaf = namesakes[0].issue(server_and_authority());
    let stranger = Pair::own(authority("stranger"));
    let refusal = refused(&leaf, &all, &[&stranger.der]);
    assert!(matches!(refusal, Refusal::TooMany), "{refusal}");
}
