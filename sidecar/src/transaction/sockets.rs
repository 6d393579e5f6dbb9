//! Which addresses of the node something listens on.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fs_err as fs;

/// Those of the addresses on which something listens, as whoever was told to listen there would: on this address, or on all of the node if
/// this is `0.0.0.0` or `::`. What listens on another address with the same port is another program.
///
/// # Errors
/// The node's sockets cannot be read.
pub(super) fn listening(wanted: &[SocketAddr]) -> io::Result<BTreeSet<SocketAddr>> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match fs::read_to_string(table) {
            Ok(text) => found.extend(text.lines().skip(1).filter_map(listens)),
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let is_there = |wanted: &&SocketAddr| found.iter().any(|found| is_same(**wanted, *found));
    Ok(wanted.iter().filter(is_there).copied().collect())
}

/// Whether a socket is the one that a program opens which is told to listen on `wanted`. For all addresses, Go opens one of IPv6 that takes IPv4
/// as well (net/ipsock_posix.go, `favoriteAddrFamily`).
fn is_same(wanted: SocketAddr, found: SocketAddr) -> bool {
    let (one, other) = (wanted.ip().to_canonical(), found.ip().to_canonical());
    wanted.port() == found.port() && (one == other || one.is_unspecified() && other.is_unspecified())
}

/// The local address of a socket that listens.
///
/// Lines are as Linux writes them (proc_pid_net_tcp(5)): a number, the local address and port in hexadecimal, the remote one, the state; 0A is
/// LISTEN. An address is printed as words of 32 bits in the order of the machine.
fn listens(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
    let (address, port) = local.split_once(':').filter(|_| state == "0A")?;
    let words = address.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes = words.map(|word| word.map(u32::to_ne_bytes)).collect::<Option<Vec<_>>>()?.concat();
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn lines_are_read_as_linux_writes_them() {
        if cfg!(target_endian = "big") {
            return;
        }
        for (line, expected) in [
            ("   0: 0100007F:094B 00000000:0000 0A 00000000:00000000 00:00000000", Some("127.0.0.1:2379")),
            ("   1: 0B00590A:094C 00000000:0000 0A 00000000:00000000 00:00000000", Some("10.89.0.11:2380")),
            (
                "   2: 00000000000000000000000000000000:192B 00000000000000000000000000000000:0000 0A 0",
                Some("[::]:6443"),
            ),
            (
                "   3: B80D0120000000000000000001000000:192B 00000000000000000000000000000000:0000 0A 0",
                Some("[2001:db8::1]:6443"),
            ),
            (
                "   4: 0000000000000000FFFF00000B00590A:192B 00000000000000000000000000000000:0000 0A 0",
                Some("[::ffff:10.89.0.11]:6443"),
            ),
            // Connected, and what is no line.
            ("   5: 0100007F:094B 0100007F:A000 01 00000000:00000000 00:00000000", None),
            ("  sl  local_address rem_address   st", None),
            ("", None),
        ] {
            assert_eq!(listens(line), expected.map(at), "{line}");
        }
    }

    #[test]
    fn another_address_with_the_same_port_is_another_program() {
        for (wanted, found, same) in [
            ("10.0.0.1:2379", "10.0.0.1:2379", true),
            ("10.0.0.1:2379", "10.0.0.2:2379", false),
            ("10.0.0.1:2379", "10.0.0.1:2380", false),
            ("10.0.0.1:2379", "[::ffff:10.0.0.1]:2379", true),
            ("10.0.0.1:2379", "0.0.0.0:2379", false),
            ("0.0.0.0:6443", "[::]:6443", true),
            ("[::]:6443", "0.0.0.0:6443", true),
            ("0.0.0.0:6443", "127.0.0.1:6443", false),
            ("[2001:db8::1]:6443", "[2001:db8::1]:6443", true),
        ] {
            assert_eq!(is_same(at(wanted), at(found)), same, "{wanted} {found}");
        }
    }

    #[test]
    fn an_address_listens_or_not() {
        // A proxy of the node on another address.
        let proxy = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = proxy.local_addr().unwrap().port();
        let own = SocketAddr::new("127.0.0.1".parse().unwrap(), port);
        assert_eq!(listening(&[own]).unwrap(), BTreeSet::new());
        let socket = TcpListener::bind(own).unwrap();
        let _connected = TcpStream::connect(own).unwrap();
        assert_eq!(listening(&[own, SocketAddr::new(own.ip(), 1)]).unwrap(), BTreeSet::from([own]));
        drop(socket);
        // A child of another test holds the socket, too, from its fork to its exec.
        let free = (0..100_000).any(|_| listening(&[own]).unwrap().is_empty());
        assert!(free);
        assert_eq!(listening(&[proxy.local_addr().unwrap()]).unwrap().len(), 1);
    }
}
