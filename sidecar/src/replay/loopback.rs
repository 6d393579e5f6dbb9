//! A network of nothing but its own loopback device, for the thread that asks and for what that starts.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::UnshareFlags;

/// `struct nlmsghdr` and `struct ifinfomsg` (linux/netlink.h, linux/rtnetlink.h).
const HEADER: usize = 16;
const MESSAGE: u32 = 32;
/// `RTM_NEWLINK`.
const NEW_LINK: u16 = 16;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 1 | 4;
/// `NLMSG_ERROR`, which is how a success is told, too.
const ANSWER: u16 = 2;
/// The loopback device is the first one of every network namespace.
const LOOPBACK: i32 = 1;
/// `IFF_UP`.
const UP: u32 = 1;

/// Takes this thread out of the node's network for good.
///
/// # Errors
/// The process may not, which takes `CAP_SYS_ADMIN`; or its kernel cannot.
pub(super) fn enter() -> io::Result<()> {
    // Only the flag for the table of open files is unsafe.
    #[expect(deprecated, reason = "no descriptor is shared or taken away by a network namespace")]
    rustix::thread::unshare(UnshareFlags::NEWNET)?;
    raise()
}

fn raise() -> io::Result<()> {
    // Protocol 0 is NETLINK_ROUTE.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &request(), SendFlags::empty())?;
    let mut answer = [0; 64];
    let (read, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    match outcome(answer.get(..read).unwrap_or_default()) {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(number.saturating_neg())),
        None => Err(io::Error::other("the kernel does not answer as netlink(7) says")),
    }
}

/// "Set the flag UP of the device", in the byte order of the machine.
#[expect(clippy::host_endian_bytes, reason = "the kernel of this machine reads it")]
fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MESSAGE as usize);
    bytes.extend(MESSAGE.to_ne_bytes());
    bytes.extend(NEW_LINK.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    // Number of the message, and of the port; then the family, a pad and the type of the device, which are not said.
    bytes.extend([0; 8]);
    bytes.extend([0; 4]);
    bytes.extend(LOOPBACK.to_ne_bytes());
    // The flags, and which of them are meant.
    bytes.extend(UP.to_ne_bytes());
    bytes.extend(UP.to_ne_bytes());
    bytes
}

/// The number in an answer: 0, or an error's below it.
#[expect(clippy::host_endian_bytes, reason = "the kernel of this machine has written it")]
fn outcome(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let number = i32::from_ne_bytes(answer.get(HEADER..HEADER + 4)?.try_into().ok()?);
    (kind == ANSWER).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_length_that_it_says() {
        assert_eq!(request().len(), MESSAGE as usize);
        assert_eq!(outcome(&[0; 3]), None);
        assert_eq!(outcome(&request()), None);
    }
}
