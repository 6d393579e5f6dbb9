use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use etcd_transaction::{Answer, Decision, Step};
use etcd_wire::restore::{RestoreNode, peer_name};
use etcd_wire::{Connection, Frame, Hello, Reply, Request, WireError};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::layout::tests::plan;
use super::*;

/// Longer than anything here takes on a slow machine.
const LONG: Duration = Duration::from_secs(30);
/// Shorter than the time that a handshake may take: nobody who waits for one holds up others.
const SOON: Duration = Duration::from_secs(2);

type Raw = Connection<ReadHalf<TlsStream<TcpStream>>, WriteHalf<TlsStream<TcpStream>>>;

/// The nodes of one plan on loopback addresses of their own, from 127.0.0.1 on.
struct Nodes {
    port: u16,
    identities: Vec<Identity>,
}

impl Nodes {
    async fn new() -> Nodes {
        let port = loop {
            let first = TcpListener::bind((address(0), 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            let others =
                async { TcpListener::bind((address(1), port)).await.and(TcpListener::bind((address(2), port)).await) };
            if others.await.is_ok() {
                break port;
            }
        };
        Nodes { port, identities: identities() }
    }

    fn layout(&self, index: usize) -> Layout {
        let root = Path::new("/nothing");
        let mut plan = plan(root);
        plan.peer_port = self.port;
        plan.coordinator = "cp1".into();
        let first = plan.nodes.remove(0);
        plan.nodes = (1..=3)
            .map(|number| RestoreNode { node: format!("cp{number}"), address: address(number - 1), ..first.clone() })
            .collect();
        Layout::at(plan, &format!("cp{}", index + 1), &root.join("state")).unwrap()
    }

    async fn listener(&self, index: usize) -> TcpListener {
        loop {
            match TcpListener::bind((address(index), self.port)).await {
                // A network that was dropped ends soon.
                Err(error) if error.kind() == ErrorKind::AddrInUse => tokio::task::yield_now().await,
                bound => return bound.unwrap(),
            }
        }
    }

    async fn start(&self, index: usize) -> (Network, mpsc::Receiver<Heard>) {
        self.start_as(index, Some(&self.identities[index]), &[]).await
    }

    async fn start_as(
        &self,
        index: usize,
        identity: Option<&Identity>,
        authorities: &[&Identity],
    ) -> (Network, mpsc::Receiver<Heard>) {
        let authorities = authorities.iter().map(|one| one.ca.clone()).collect();
        Network::on(std::future::ready(self.listener(index).await), &self.layout(index), identity, authorities).unwrap()
    }

    /// A TCP connection to a node from an address.
    async fn tcp(&self, from: &str, to: usize) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
        socket.connect(SocketAddr::new(address(to).parse().unwrap(), self.port)).await.unwrap()
    }

    /// A conversation with a node from an address, with a certificate or without one.
    async fn converse(&self, from: &str, to: usize, identity: Option<&Identity>) -> Result<Raw, WireError> {
        let known: Vec<Identity> = identity.cloned().into_iter().collect();
        let credentials = Credentials::new(&known, &[self.identities[to].ca.clone()]).unwrap();
        let config = credentials.speakers.first().cloned().or(credentials.asker).unwrap();
        let name = ServerName::try_from(peer_name(to)).unwrap();
        let stream = TlsConnector::from(config).connect(name, self.tcp(from, to).await).await?;
        let (reader, writer) = tokio::io::split(stream);
        Connection::establish(reader, writer, Hello::ours()).await
    }
}

fn address(index: usize) -> String {
    format!("127.0.0.{}", index + 1)
}

/// Three identities of one new authority. All authorities have the same subject.
fn identities() -> Vec<Identity> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "kubectl-etcd restore x");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let issue = |name: String| {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec![name]).unwrap().signed_by(&key, &issuer).unwrap();
        Identity { ca: ca.clone(), cert: cert.pem(), key: key.serialize_pem() }
    };
    (0..3).map(peer_name).chain(["stranger.example".to_owned()]).map(issue).collect()
}

fn order(step: Step) -> Message {
    Message::Order { step }
}

/// The restore of these nodes.
const ID: &str = "20261121-100000-abcde";

fn said(message: Message) -> Request {
    Request::Message { of: ID.into(), message: Box::new(message) }
}

async fn heard(hears: &mut mpsc::Receiver<Heard>, within: Duration) -> Heard {
    tokio::time::timeout(within, hears.recv()).await.expect("something in time").expect("a network")
}

/// The next message, and who sent it.
async fn message(hears: &mut mpsc::Receiver<Heard>, within: Duration) -> (Node, Message) {
    match heard(hears, within).await {
        Heard::Message { from, message } => (from, message),
        other => panic!("a message was expected: {other:?}"),
    }
}

/// Whether a connection was ended by the other side, in time.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let read = tokio::time::timeout(within, stream.read(&mut [0; 1])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

/// Sends what must not be heard, and waits for the end.
async fn is_refused(connection: Result<Raw, WireError>) -> bool {
    let Ok(mut connection) = connection else { return true };
    let request = Frame::Request(said(order(Step::Swap)));
    if connection.outgoing.send(&request).await.is_err() {
        return true;
    }
    let answer = tokio::time::timeout(LONG, connection.incoming.next("an answer")).await.expect("an end in time");
    matches!(answer, Err(_) | Ok(Frame::Failure(_)))
}

/// Two nodes hear each other at once.
async fn both_are_heard(nodes: (&Network, &mut mpsc::Receiver<Heard>), others: (&Network, &mut mpsc::Receiver<Heard>)) {
    nodes.0.send(Node(1), order(Step::StopApi));
    others.0.send(Node(0), Message::AllEnded);
    assert_eq!(message(others.1, SOON).await, (Node(0), order(Step::StopApi)));
    assert_eq!(message(nodes.1, SOON).await, (Node(1), Message::AllEnded));
}

#[tokio::test]
async fn messages_arrive_in_order_and_their_sender_is_who_its_certificate_says() {
    let nodes = Nodes::new().await;
    let (first, mut hears_first) = nodes.start(0).await;
    let (second, mut hears_second) = nodes.start(1).await;
    let (third, _hears) = nodes.start(2).await;
    let steps = [Step::Preflight, Step::StopApi, Step::StopEtcd, Step::Swap, Step::LaunchEtcd, Step::StartEtcd];
    for step in steps {
        first.send(Node(1), order(step));
    }
    for step in steps {
        assert_eq!(message(&mut hears_second, LONG).await, (Node(0), order(step)));
    }
    second.send(Node(0), Message::Decided { decision: Decision::Commit });
    assert_eq!(message(&mut hears_first, LONG).await, (Node(1), Message::Decided { decision: Decision::Commit }));
    third.send(Node(0), Message::AllEnded);
    assert_eq!(message(&mut hears_first, LONG).await, (Node(2), Message::AllEnded));
    assert!(first.troubles().is_empty() && second.troubles().is_empty());
}

#[tokio::test]
async fn a_node_that_comes_later_or_again_is_reached_and_meanwhile_told_of() {
    let nodes = Nodes::new().await;
    let (first, _hears) = nodes.start(0).await;
    first.send(Node(1), order(Step::StopApi));
    let told = loop {
        match first.troubles().pop() {
            Some(told) => break told,
            None => tokio::task::yield_now().await,
        }
    };
    let wanted = format!("node cp1 cannot send to node cp2 (127.0.0.2, TCP port {}): ", nodes.port);
    assert!(told.0 == Node(1) && told.1.starts_with(&wanted) && told.1.contains("refused"), "{told:?}");
    for _ in 0..2 {
        let (second, mut hears) = nodes.start(1).await;
        assert_eq!(message(&mut hears, LONG).await, (Node(0), order(Step::StopApi)));
        drop((second, hears));
        first.send(Node(1), order(Step::StopApi));
    }
    let (_second, mut hears) = nodes.start(1).await;
    first.send(Node(1), Message::AllEnded);
    while message(&mut hears, LONG).await != (Node(0), Message::AllEnded) {}
    while !first.troubles().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn strangers_are_dropped_at_once_and_hold_up_nobody() {
    let nodes = Nodes::new().await;
    let (first, mut hears_first) = nodes.start(0).await;
    let mut strangers = Vec::new();
    for _ in 0..200 {
        strangers.push(nodes.tcp("127.0.0.9", 0).await);
    }
    // Whoever opens connections on this node itself is no other node.
    strangers.push(nodes.tcp("127.0.0.1", 0).await);
    for stranger in &mut strangers {
        assert!(is_closed(stranger, SOON).await);
    }
    assert!(is_refused(nodes.converse("127.0.0.9", 0, Some(&nodes.identities[1])).await).await);
    let (second, mut hears_second) = nodes.start(1).await;
    both_are_heard((&first, &mut hears_first), (&second, &mut hears_second)).await;
}

#[tokio::test]
async fn handshakes_that_never_end_hold_up_nobody() {
    let nodes = Nodes::new().await;
    let (first, mut hears_first) = nodes.start(0).await;
    // From the addresses of nodes themselves.
    let mut silent = Vec::new();
    for from in ["127.0.0.2", "127.0.0.3"] {
        for _ in 0..50 {
            silent.push(nodes.tcp(from, 0).await);
        }
    }
    let (second, mut hears_second) = nodes.start(1).await;
    both_are_heard((&first, &mut hears_first), (&second, &mut hears_second)).await;
    // All but the last few had to make room at once, and those end after their time.
    for (number, stream) in silent.iter_mut().enumerate() {
        let within = if number % 50 < 46 { SOON } else { LONG };
        assert!(is_closed(stream, within).await, "{number}");
    }
}

#[tokio::test]
async fn only_a_nodes_own_certificate_from_its_own_address_speaks_for_it() {
    let nodes = Nodes::new().await;
    let (first, mut hears_first) = nodes.start(0).await;
    let strangers = identities();
    for (from, identity) in [
        ("127.0.0.2", &strangers[1]),
        ("127.0.0.2", &nodes.identities[2]),
        ("127.0.0.3", &nodes.identities[1]),
        // This node's own.
        ("127.0.0.2", &nodes.identities[0]),
        // The authority's, and for no node.
        ("127.0.0.2", &nodes.identities[3]),
    ] {
        assert!(is_refused(nodes.converse(from, 0, Some(identity)).await).await, "{from}");
    }
    let (second, mut hears_second) = nodes.start(1).await;
    both_are_heard((&first, &mut hears_first), (&second, &mut hears_second)).await;
    assert!(hears_first.try_recv().is_err());
}

#[tokio::test]
async fn without_a_certificate_only_queries_are_answered() {
    let nodes = Nodes::new().await;
    let (_first, mut hears) = nodes.start(0).await;
    assert!(is_refused(nodes.converse("127.0.0.2", 0, None).await).await);
    let mut asker = nodes.converse("127.0.0.2", 0, None).await.unwrap();
    for decision in [None, Some(Decision::Abort)] {
        asker.outgoing.send(&Frame::Request(Request::Query { of: ID.into() })).await.unwrap();
        match heard(&mut hears, LONG).await {
            Heard::Queried { answer } => answer.send(Answer { decision }).unwrap(),
            other => panic!("a query was expected: {other:?}"),
        }
        let answered = asker.incoming.next("an answer").await.unwrap();
        assert_eq!(answered, Frame::Reply(Reply::Answer { of: ID.into(), answer: Answer { decision } }));
    }
    for request in [Request::Restores, Request::Commit] {
        let mut asker = nodes.converse("127.0.0.2", 0, None).await.unwrap();
        asker.outgoing.send(&Frame::Request(request)).await.unwrap();
        assert!(matches!(asker.incoming.next("an answer").await, Ok(Frame::Failure(_))));
        assert!(!matches!(asker.incoming.maybe_next().await, Ok(Some(_))));
    }
    // One that the participant does not answer gets no answer.
    let mut asker = nodes.converse("127.0.0.2", 0, None).await.unwrap();
    asker.outgoing.send(&Frame::Request(Request::Query { of: ID.into() })).await.unwrap();
    drop(heard(&mut hears, LONG).await);
    assert!(!matches!(asker.incoming.maybe_next().await, Ok(Some(_))));
    assert!(hears.try_recv().is_err());
}

/// The nodes may take part in another transaction with the same identities: what is said in one counts nothing in the other.
#[tokio::test]
async fn what_is_of_another_restore_is_neither_heard_nor_answered() {
    let nodes = Nodes::new().await;
    let (_first, mut hears) = nodes.start(0).await;
    let of = format!("{ID}-r");
    let message = Request::Message { of: of.clone(), message: Box::new(order(Step::Swap)) };
    for (request, identity) in [(message, Some(&nodes.identities[1])), (Request::Query { of }, None)] {
        let mut connection = nodes.converse("127.0.0.2", 0, identity).await.unwrap();
        connection.outgoing.send(&Frame::Request(request)).await.unwrap();
        match connection.incoming.next("an answer").await.unwrap() {
            Frame::Failure(failure) => assert!(failure.message.contains(&format!("takes part in restore {ID}"))),
            other => panic!("a refusal was expected: {other:?}"),
        }
        assert!(!matches!(connection.incoming.maybe_next().await, Ok(Some(_))));
    }
    assert!(hears.try_recv().is_err());

    // An answer of another one is none.
    let (second, mut hears) = nodes.start_as(1, None, &[&nodes.identities[2]]).await;
    let listener = nodes.listener(2).await;
    second.ask(Node(2));
    let server = Credentials::new(&nodes.identities[2..3], &[]).unwrap().server.unwrap();
    let (stream, _) = tokio::time::timeout(LONG, listener.accept()).await.unwrap().unwrap();
    let stream = TlsAcceptor::from(server).accept(stream).await.unwrap();
    let (reader, writer) = tokio::io::split(stream);
    let mut connection = Connection::establish(reader, writer, Hello::ours()).await.unwrap();
    assert_eq!(connection.incoming.next("a query").await.unwrap(), Frame::Request(Request::Query { of: ID.into() }));
    let answer = Answer { decision: Some(Decision::Commit) };
    connection.outgoing.send(&Frame::Reply(Reply::Answer { of: "other".into(), answer })).await.unwrap();
    while second.troubles().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(hears.try_recv().is_err());
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_an_older_one() {
    let nodes = Nodes::new().await;
    let (_first, mut hears) = nodes.start(0).await;
    let own = Some(&nodes.identities[1]);
    let mut older = nodes.converse("127.0.0.2", 0, own).await.unwrap();
    let mut other_node = nodes.converse("127.0.0.3", 0, Some(&nodes.identities[2])).await.unwrap();
    let mut asker = nodes.converse("127.0.0.2", 0, None).await.unwrap();
    let mut newer = nodes.converse("127.0.0.2", 0, own).await.unwrap();
    assert!(!matches!(older.incoming.maybe_next().await, Ok(Some(_))));
    for (connection, from) in [(&mut newer, Node(1)), (&mut other_node, Node(2))] {
        connection.outgoing.send(&Frame::Request(said(Message::AllEnded))).await.unwrap();
        assert_eq!(connection.incoming.next("an answer").await.unwrap(), Frame::Reply(Reply::Heard));
        assert_eq!(message(&mut hears, LONG).await, (from, Message::AllEnded));
    }
    asker.outgoing.send(&Frame::Request(Request::Query { of: ID.into() })).await.unwrap();
    assert!(matches!(heard(&mut hears, LONG).await, Heard::Queried { .. }));
}

#[tokio::test]
async fn a_message_that_is_not_answered_is_sent_again_over_another_connection() {
    let nodes = Nodes::new().await;
    let (first, _hears) = nodes.start(0).await;
    let listener = nodes.listener(1).await;
    first.send(Node(1), order(Step::Swap));
    let server = Credentials::new(&nodes.identities[1..2], &[]).unwrap().server.unwrap();
    for _ in 0..2 {
        let (stream, remote) = tokio::time::timeout(LONG, listener.accept()).await.unwrap().unwrap();
        assert_eq!(remote.ip(), IpAddr::from([127, 0, 0, 1]));
        let stream = TlsAcceptor::from(Arc::clone(&server)).accept(stream).await.unwrap();
        let (reader, writer) = tokio::io::split(stream);
        let mut connection = Connection::establish(reader, writer, Hello::ours()).await.unwrap();
        assert_eq!(connection.peer.build.as_deref(), Some(etcd_build::ID));
        let request = connection.incoming.next("a message").await.unwrap();
        assert_eq!(request, Frame::Request(said(order(Step::Swap))));
        // It gives up by itself.
        let ended = tokio::time::timeout(LONG, connection.incoming.maybe_next()).await.unwrap();
        assert!(!matches!(ended, Ok(Some(_))));
    }
    assert!(first.troubles()[0].1.contains("no answer for 5s"), "{:?}", first.troubles());
}

#[tokio::test]
async fn a_node_without_an_identity_asks_and_speaks_once_it_has_one() {
    let nodes = Nodes::new().await;
    let (newer, strangers) = (identities(), identities());
    let (first, mut hears_first) = nodes.start(0).await;
    // It knows several authorities.
    let (second, mut hears_second) = nodes.start_as(1, None, &[&strangers[0], &nodes.identities[0]]).await;
    let ask = async |second: &Network, first: &mut mpsc::Receiver<Heard>, hears: &mut mpsc::Receiver<Heard>| {
        second.ask(Node(0));
        match heard(first, LONG).await {
            Heard::Queried { answer } => answer.send(Answer { decision: Some(Decision::Commit) }).unwrap(),
            other => panic!("a query was expected: {other:?}"),
        }
        match heard(hears, LONG).await {
            Heard::Answered { from, answer } => assert_eq!((from, answer.decision), (Node(0), Some(Decision::Commit))),
            other => panic!("an answer was expected: {other:?}"),
        }
    };
    ask(&second, &mut hears_first, &mut hears_second).await;
    second.send(Node(0), Message::AllEnded);
    while second.troubles().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(second.troubles()[0].1.contains("this node has no certificate"), "{:?}", second.troubles());
    // The first gets a newer identity, and still answers whoever knows only the older authority.
    first.set_identity(&newer[0]).unwrap();
    ask(&second, &mut hears_first, &mut hears_second).await;
    // What cannot be used changes nothing.
    assert!(second.set_identity(&Identity { key: newer[0].key.clone(), ..newer[1].clone() }).is_err());
    second.set_identity(&newer[1]).unwrap();
    both_are_heard((&first, &mut hears_first), (&second, &mut hears_second)).await;
    assert!(hears_first.try_recv().is_err(), "what could not be sent without an identity is not sent later");
    // The third has only the older one: they speak all the same, in both directions.
    let (third, mut hears_third) = nodes.start(2).await;
    first.send(Node(2), order(Step::Swap));
    assert_eq!(message(&mut hears_third, LONG).await, (Node(0), order(Step::Swap)));
    third.send(Node(0), order(Step::Swap));
    assert_eq!(message(&mut hears_first, LONG).await, (Node(2), order(Step::Swap)));
}

#[tokio::test]
async fn nobody_is_believed_whose_authority_the_journal_does_not_know() {
    let nodes = Nodes::new().await;
    let (_first, mut hears_first) = nodes.start(0).await;
    let strangers = identities();
    for (authorities, why) in
        [(&[&strangers[0]][..], "TLS handshake from 127.0.0.2 failed: "), (&[], "knows no authority")]
    {
        let (second, mut hears_second) = nodes.start_as(1, None, authorities).await;
        second.ask(Node(0));
        while second.troubles().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(second.troubles()[0].1.contains(why), "{:?}", second.troubles());
        assert!(hears_first.try_recv().is_err() && hears_second.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_of_and_waited_for() {
    let nodes = Nodes::new().await;
    let other = TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let taken = Nodes { port: other.local_addr().unwrap().port(), ..nodes };
    let failure = bind(&taken.layout(0)).await.unwrap_err();
    assert_eq!(failure.code, FailureCode::Refused);
    assert!(failure.hint.unwrap().contains("--peer-port"));
    let spoiled = Identity { ca: String::new(), ..taken.identities[0].clone() };
    let failure = Network::start(&taken.layout(0), Some(&spoiled), Vec::new(), |_| ()).await.err().unwrap();
    assert_eq!(failure.code, FailureCode::BadRequest);
    let (notes, mut noted) = mpsc::unbounded_channel();
    let note = move |text| notes.send(text).unwrap();
    let identity = Some(&taken.identities[0]);
    let (network, _hears) = Network::start(&taken.layout(0), identity, Vec::new(), note).await.unwrap();
    let told = noted.recv().await.unwrap();
    let begins = format!("node cp1 cannot listen on TCP port {}", taken.port);
    assert!(told.starts_with(&begins) && told.ends_with("; it is tried again until the port is free"), "{told}");
    drop(other);
    // Nothing else was told while it was taken.
    assert_eq!(noted.recv().await.unwrap(), format!("the node listens on TCP port {} now", taken.port));
    // Both kinds of addresses reach it.
    taken.converse("127.0.0.2", 0, Some(&taken.identities[1])).await.unwrap();
    drop(network);
}
